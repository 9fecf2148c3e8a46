"""Values of columns that other keys of a recipe name, in the spelling that the columns have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from creche.contract import UNKNOWN, Column
from creche.recipe.gate import SAME_LABEL, BehaviorTest

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe


def with_canonical_values(recipe: "Recipe") -> dict[str, Any]:
    """Return the sections of a recipe that name values of columns, with canonical values.

    `where: {member: yes}` selects the rows whose value is `true`.

    Raises:
        ValueError: a value is none of its column's type; the message begins with the key.
    """
    columns = recipe.columns
    sections: dict[str, Any] = {}
    designated = recipe.split.designated_holdout
    if designated is not None:
        holdout = _canonical("split.holdout", dict([designated]), columns)
        sections["split"] = recipe.split.model_copy(update={"holdout": holdout})
    if recipe.gate.behavior:
        tests = []
        for index, test in enumerate(recipe.gate.behavior):
            tests.append(_canonical_test(f"gate.behavior.{index}", test, recipe))
        sections["gate"] = recipe.gate.model_copy(update={"behavior": tuple(tests)})
    sections.update(_with_canonical_classes(recipe))
    return sections


def _with_canonical_classes(recipe: "Recipe") -> dict[str, Any]:
    """Return the sections that name classes of the label."""
    sections: dict[str, Any] = {}
    weights = recipe.training.class_weights
    if isinstance(weights, dict):
        named = {_class_name(name, recipe): weight for name, weight in weights.items()}
        sections["training"] = recipe.training.model_copy(update={"class_weights": named})
    if recipe.cost is not None:
        cost = {}
        for actual, row in recipe.cost.items():
            named_row = {_class_name(name, recipe): value for name, value in row.items()}
            cost[_class_name(actual, recipe)] = named_row
        sections["cost"] = cost
    return sections


def _class_name(name: str, recipe: "Recipe") -> str:
    """Return a name in the spelling of the label's classes; one that is none of them as it is."""
    column = recipe.columns[recipe.label]
    try:
        return column.type.canonical_value(name, column)
    except ValueError:
        return name


def _canonical_test(key: str, test: BehaviorTest, recipe: "Recipe") -> BehaviorTest:
    columns = recipe.columns
    expect = test.expect
    if expect not in (SAME_LABEL, UNKNOWN):
        expect = _class_name(expect, recipe)
    return test.model_copy(
        update={
            "where": _canonical(f"{key}.where", test.where, columns),
            "change": _canonical(f"{key}.change", test.change, columns),
            "expect": expect,
        }
    )


def _canonical(
    key: str, values: Mapping[str, Any], columns: Mapping[str, Column]
) -> dict[str, Any]:
    """Return column → value with each text in the spelling of its column."""
    canonical: dict[str, Any] = {}
    for name, value in values.items():
        canonical[name] = value
        if not isinstance(value, str) or name not in columns:
            continue
        column = columns[name]
        try:
            canonical[name] = column.type.canonical_value(value, column)
        except ValueError as error:
            raise ValueError(f"{key}.{name}: '{value}' is {error}") from None
    return canonical
