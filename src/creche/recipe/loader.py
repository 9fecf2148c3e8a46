"""Finding and reading the YAML file of a recipe."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from creche.contract import Column
from creche.errors import RecipeError
from creche.project import recipe_names
from creche.recipe.schema import Recipe
from creche.recipe.yaml_reader import parse_yaml

SUFFIXES = (".yaml", ".yml")
# Parts of pydantic's error locations that are no keys of a recipe.
NOT_KEYS = ("literal[", "function-", "constrained-")


def find(reference: str, root: Path) -> Path:
    """Return the file of a recipe that is given by name (in `recipes/`) or by path.

    Raises:
        RecipeError: there is none; the message lists the names there are.
    """
    path = root / "recipes" / f"{reference}.yaml"
    if reference.endswith(SUFFIXES):
        path = Path(reference)
    if not path.is_file():
        raise RecipeError(
            f"no recipe '{reference}': {path} is not a file; recipes here: "
            f"{', '.join(recipe_names(root)) or 'none'}"
        )
    return path


def load(reference: str, root: Path) -> Recipe:
    """Read and check a recipe; its name is that of its file.

    Raises:
        RecipeError: the file is no YAML, or a key is unknown, missing or wrong; names the file and
            the key's path.
    """
    path = find(reference, root)
    if not re.fullmatch(r"[\w .+-]+", path.stem):
        raise RecipeError(f"{path}: a recipe's name is made of letters, digits, spaces and . _ + -")
    content = _read_yaml(path)
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys; see recipes/penguins.yaml")
    if "name" in content:
        raise RecipeError(f"{path}: name: a recipe is called as its file is; drop this key")
    try:
        return Recipe.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        messages = [_message(details) for details in error.errors()]
        raise RecipeError(f"{path}: {'; '.join(messages)}") from None


def _read_yaml(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{path} is not valid YAML: {reason}") from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None


def _message(details: ErrorDetails) -> str:
    """Return pydantic's error as the key's path and what is wrong with it."""
    keys = [str(part) for part in details["loc"] if not str(part).startswith(NOT_KEYS)]
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        close = get_close_matches(keys[-1], _known_keys(keys[:-1]), 1)
        message = f"unknown key: {close[0]}?" if close else "unknown key"
    elif details["type"] == "missing":
        message = "this key is missing"
    elif not isinstance(details.get("input", {}), dict):
        message += f", not {details['input']!r}"
    path = ".".join(keys)
    return f"{path}: {message}" if path else message


def _known_keys(path: list[str]) -> list[str]:
    """Return the keys of the section at a path, for a hint; none where it has no fixed keys."""
    if path and path[0] == "columns":
        return list(Column.__dataclass_fields__)
    section: Any = Recipe
    for key in path:
        fields = getattr(section, "model_fields", {})
        section = fields[key].annotation if key in fields else None
    return list(getattr(section, "model_fields", {}))
