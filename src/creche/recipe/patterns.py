"""Patterns for the names of columns, as `sensor_*`: one entry of a recipe for many columns.

They are expanded by the header of the data. Until the data are pulled, what concerns the columns
of a pattern is not checked.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from creche.contract import Column, normalize_name
from creche.errors import RecipeError, listed
from creche.recipe.loader import validated

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe

WILDCARD = "*"  # stands for any characters
SHOWN_NAMES = 5  # of a header that a message lists
MAX_COMPARED = 1000  # names of a header among which a similar one is looked for


def expanded(recipe: "Recipe", header: Sequence[str]) -> "Recipe":
    """Return a recipe with the columns of a header in place of its patterns.

    A column that is stated by its name, or by an alias, belongs to no pattern. The columns of a
    pattern are in the order of the header. A pattern of features stands for the columns of that
    name that are neither stated by name there, nor label, `group`, `unique`, `split.holdout` or
    `split.time`.

    Raises:
        RecipeError: a pattern matches no column, two match the same one, or the recipe is wrong
            with these columns.
    """
    if not recipe.has_patterns:
        return recipe
    where = f"recipe {recipe.name}"
    columns = _expanded_columns(recipe, header, where)
    content: dict[str, Any] = dict(recipe)
    content["columns"] = columns
    content["features"] = _expanded_features(recipe, columns, header, where)
    result = validated(content, where)
    result.keep_digest(recipe.digest)
    return result


def _expanded_columns(recipe: "Recipe", header: Sequence[str], where: str) -> dict[str, Column]:
    stated_names = set()
    patterns = {}
    for name, column in recipe.columns.items():
        if WILDCARD in name:
            patterns[name] = _compiled(name)
            continue
        for accepted_name in column.accepted_names(name):
            stated_names.add(normalize_name(accepted_name))
    free_names = [name for name in header if normalize_name(name) not in stated_names]
    matches = _matches(patterns, free_names, f"{where}: columns")
    columns = {}
    for name, column in recipe.columns.items():
        if name not in patterns:
            columns[name] = column
            continue
        _check_any(name, matches[name], header, f"{where}: columns")
        columns |= dict.fromkeys(matches[name], column)
    return columns


def _expanded_features(
    recipe: "Recipe", columns: dict[str, Column], header: Sequence[str], where: str
) -> dict[str, Any]:
    patterns = {name: _compiled(name) for name in recipe.features if WILDCARD in name}
    taken = {recipe.label, *recipe.features, *recipe.group, *recipe.unique}
    if recipe.split.designated_holdout is not None:
        taken.add(recipe.split.designated_holdout[0])
    if recipe.split.time is not None:
        taken.add(recipe.split.time)
    free_names = [name for name in columns if name not in taken]
    matches = _matches(patterns, free_names, f"{where}: features")
    features = {}
    for name, encoding in recipe.features.items():
        if name not in patterns:
            features[name] = encoding
            continue
        _check_any(name, matches[name], header, f"{where}: features")
        features |= dict.fromkeys(matches[name], encoding)
    return features


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [re.escape(part) for part in pattern.split(WILDCARD)]
    return re.compile(".*".join(parts))


def _matches(
    patterns: dict[str, re.Pattern[str]], names: Sequence[str], where: str
) -> dict[str, list[str]]:
    """Return the names that match each pattern, in their order.

    Raises:
        RecipeError: a name matches two of them.
    """
    matches: dict[str, list[str]] = {pattern: [] for pattern in patterns}
    for name in names:
        matching = [key for key, pattern in patterns.items() if pattern.fullmatch(name)]
        if len(matching) > 1:
            raise RecipeError(
                f"{where}: '{name}' matches '{matching[0]}' and '{matching[1]}': state it by its "
                "name as well, which comes before patterns"
            )
        for pattern in matching:
            matches[pattern].append(name)
    return matches


def _check_any(pattern: str, names: Sequence[str], header: Sequence[str], where: str) -> None:
    if names:
        return
    stem = pattern.replace(WILDCARD, "")
    similar = get_close_matches(stem, header[:MAX_COMPARED], SHOWN_NAMES, cutoff=0.4)
    hint = f"it has {listed(header, SHOWN_NAMES)}"
    if similar:
        hint = f"it has {', '.join(similar)}"
    raise RecipeError(
        f"{where}: no column of the data matches '{pattern}' that is not stated by its name: "
        f"correct the pattern or remove it; {hint}"
    )
