"""Finding and reading the YAML file of a recipe."""

import re
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from creche.contract import Column
from creche.errors import RecipeError
from creche.project import RECIPE_NAME_FORM, is_recipe_name, recipe_names
from creche.recipe.encoding_errors import (
    ENCODING_SECTIONS,
    is_of_names,
    only_of_stated_encodings,
)
from creche.recipe.network_class import find_network_class
from creche.recipe.schema import Recipe
from creche.recipe.yaml_reader import parse_yaml

FILLED_IN = "code_digest"  # key of the network that no recipe states
SUFFIXES = (".yaml", ".yml")
# Parts of pydantic's error locations that name an alternative of a type, and are no keys.
NOT_KEYS = ("literal[", "function-", "constrained-", "dict[", "[key]", "OptimizedDecision")
ALTERNATIVES = ("LinearPerturbation", "str", "float")
# What pydantic says of a value that is no section where one would also be allowed.
SECTION_EXPECTED = ("model_type", "dict_type", "dataclass_type")
REMOVE_OR_USE = "remove it, or use one of"
KEYS_LISTED = f"unknown key: {REMOVE_OR_USE}"
# Of a mapping that has too few or too many keys.
LENGTH_ERRORS = ("too_short", "too_long")
PYDANTIC_MESSAGE = "Input should be"
# Pydantic's words, as regular expressions → ours.
WORDS = {
    "Input should be": "it must be",
    "a valid integer(, .*)?": "a whole number",
    "a valid number(, .*)?": "a number",
    "a valid string": "a text",
    "a valid tuple": "a list",
    r"a (valid )?dictionary( or (an )?instance of \w+)?": "a mapping of keys",
    "a valid boolean(, .*)?": "true or false",
    r"String should match pattern .*": "it must be an md5: 32 digits of 0-9 and a-f",
    r"Dictionary should have at least (\d+) items? .*": r"it must have at least \1 key",
    r"Dictionary should have at most (\d+) items? .*": r"it must have at most \1 key",
    "less than or equal to": "at most",
    "greater than or equal to": "at least",
}


def find(reference: str, root: Path) -> Path:
    """Return the file of a recipe that is given by name (in `recipes/`) or by path.

    Raises:
        RecipeError: there is none; the message lists the names there are.
    """
    path = root / "recipes" / f"{reference}.yaml"
    if reference.endswith(SUFFIXES):
        path = Path(reference)
    if not path.is_file():
        names = ", ".join(recipe_names(root)) or "none"
        raise RecipeError(
            f"no recipe '{reference}': {path} is not a file; name one of the recipes here "
            f"({names}), or a path"
        )
    return path


def load(reference: str, root: Path) -> Recipe:
    """Read and check a recipe; its name is that of its file.

    Raises:
        RecipeError: the file is no YAML, or a key is unknown, missing or wrong; names the file and
            the key's path.
    """
    path = find(reference, root)
    if not is_recipe_name(path.stem):
        raise RecipeError(
            f"{path}: the name of a recipe is made of {RECIPE_NAME_FORM}: rename the file"
        )
    content = _read_yaml(path)
    if not isinstance(content, dict):
        what = "is empty" if content is None else "holds none"
        raise RecipeError(
            f"{path}: a recipe is a mapping of keys, and this file {what}: write one with "
            "`creche init TABLE --label COLUMN`"
        )
    if "name" in content:
        raise RecipeError(f"{path}: name: a recipe has the name of its file: remove this key")
    network = content.get("network")
    if isinstance(network, dict) and FILLED_IN in network:
        raise RecipeError(f"{path}: network.{FILLED_IN}: unknown key: remove it")
    recipe = validated({**content, "name": path.stem}, str(path))
    return _with_code_digest(recipe, path, root)


def validated(content: dict[str, Any], where: str) -> Recipe:
    """Return the recipe of some keys.

    Args:
        where: what the recipe is called in messages.

    Raises:
        RecipeError: a key is unknown, missing or wrong; names its path.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {'; '.join(_messages(error.errors()))}") from None


def _with_code_digest(recipe: Recipe, path: Path, root: Path) -> Recipe:
    """Return the recipe with the digest of the source of a network of one's own."""
    if not recipe.network.is_own:
        return recipe
    try:
        digest = find_network_class(recipe.network.kind, root).digest()
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    network = recipe.network.model_copy(update={FILLED_IN: digest})
    return recipe.model_copy(update={"network": network})


def _read_yaml(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{path} is not valid YAML: {reason}") from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None


def _messages(errors: list[ErrorDetails]) -> list[str]:
    """Return pydantic's errors as key paths and what is wrong with each; one for each key."""
    by_path: dict[str, str] = {}
    listings: set[str] = set()
    for details in only_of_stated_encodings(errors):
        keys = _keys(details)
        path = ".".join(keys)
        is_encoding = is_of_names(details)
        # That a mapping is no name says nothing, where its keys have errors of their own.
        is_mapping = details["type"] == "literal_error" and isinstance(details["input"], dict)
        if is_mapping and not is_encoding:
            continue
        # A key of several allowed types has an error for each; that it is no section says least.
        if path in by_path and details["type"] in SECTION_EXPECTED:
            continue
        message = _message(details, keys)
        # The keys of a section are listed once.
        if message in listings:
            message = "unknown key: remove it"
        elif message.startswith(KEYS_LISTED):
            listings.add(message)
        if is_encoding:
            message = (
                f"is {details['input']!r}: {_translated(details['msg'])}, or {ENCODING_SECTIONS}"
            )
        if path in by_path:
            message = f"{by_path[path]}, or {message.partition(': it must be ')[2] or message}"
        by_path[path] = message
    return [f"{path}: {message}" if path else message for path, message in by_path.items()]


def _keys(details: ErrorDetails) -> list[str]:
    """Return the path of keys that an error is about."""
    keys = [str(part) for part in details["loc"] if not str(part).startswith(NOT_KEYS)]
    # A recipe may have a column of such a name, but then it is not the last of three keys.
    if len(keys) > 2 and keys[-1] in ALTERNATIVES:
        keys.pop()
    return keys


def _message(details: ErrorDetails, keys: list[str]) -> str:
    """Return what is wrong with the value of a key, and what is allowed."""
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = f"unknown key: {_remedy_of_unknown_key(keys)}"
    elif details["type"] == "missing":
        message = "this key is missing: add it"
    elif not isinstance(details.get("input", {}), dict):
        message = f"is {details['input']!r}: {_translated(message)}"
    elif message.startswith(PYDANTIC_MESSAGE):
        message = f"is a mapping of keys: {_translated(message)}"
    elif details["type"] in LENGTH_ERRORS:
        message = _translated(message)
    return message


def _translated(message: str) -> str:
    for pattern, words in WORDS.items():
        message = re.sub(pattern, words, message)
    return message


def _remedy_of_unknown_key(keys: list[str]) -> str:
    known = _known_keys(keys[:-1])
    close = get_close_matches(keys[-1], known, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    if known:
        return f"{REMOVE_OR_USE} {', '.join(known)}"
    return "remove it"


def _known_keys(path: list[str]) -> list[str]:
    """Return the keys of the section at a path, for a hint; none where it has no fixed keys."""
    if path and path[0] == "columns":
        return [field.name for field in fields_of(Column)]
    section: Any = Recipe
    for key in path:
        fields = getattr(section, "model_fields", {})
        section = fields[key].annotation if key in fields else None
    if is_dataclass(section):
        return [field.name for field in fields_of(section)]
    return list(getattr(section, "model_fields", {}))
