"""mkdocs hooks: reference pages are generated from the code, so that they always agree with it.

A comment in a page, as `<!-- generated: cli -->`, is replaced by the reference of that name.
"""

import argparse
import dataclasses
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from creche.cli.main import build_parser
from creche.contract import Column
from creche.contract.reading import CsvDialect
from creche.model.metadata import metadata_schemas
from creche.recipe import Network, Recipe
from creche.recipe.loader import FILLED_IN
from creche.records import json_schemas
from creche.settings import VARIABLES

ROOT = Path(__file__).parents[1]
KEY_HEADER = ["key", "type", "default", "meaning"]
TYPE_NAMES = {str: "text", float: "number", int: "whole number", bool: "true or false"}
MARK = re.compile(r"<!-- generated: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page by what is generated."""
    return MARK.sub(lambda match: GENERATORS[match[1]](), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Publish the JSON schema of every record and of a model file's metadata beside the pages."""
    folder = Path(config["site_dir"]) / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    schemas = dict(json_schemas())
    for section, schema in metadata_schemas().items():
        schemas[f"model.{section}"] = schema
    for name, schema in schemas.items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


def cli_reference() -> str:
    """Return every command with its arguments and its example, from the parser."""
    parser = build_parser()
    parts = [str(parser.epilog)]
    for name, command in _commands(parser).items():
        example = f"```console\n$ {_example(command)}\n```"
        parts.append(f"## creche {name}\n\n{command.description}\n\n{example}")
        rows = [_argument_row(action) for action in command._actions if action.dest != "help"]
        parts.append(_table(["argument", "meaning"], rows))
    return "\n\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no commands")


def _example(command: argparse.ArgumentParser) -> str:
    return str(command.epilog).removeprefix("example: ")


def _argument_row(action: argparse.Action) -> list[str]:
    names = ", ".join(action.option_strings)
    metavar = action.metavar or action.dest.upper()
    if isinstance(metavar, tuple):
        metavar = " ".join(metavar)
    if action.nargs == 0:
        metavar = ""
    label = f"{names} {metavar}".strip()
    meaning = action.help or ""
    if action.choices:
        meaning += f" ({', '.join(map(str, action.choices))})"
    return [f"`{label}`", meaning]


def recipe_reference() -> str:
    """Return every key of a recipe with type, default and meaning, from the pydantic models."""
    queue: list[tuple[str, type[BaseModel]]] = [("", Recipe)]
    documented: set[type[BaseModel]] = set()
    sections = []
    while queue:
        path, model = queue.pop(0)
        if model in documented:
            continue
        documented.add(model)
        sections.append(_model_section(path, model))
        for name, field in model.model_fields.items():
            for part in _models_in(field.annotation):
                queue.append((f"{path}{name}.", part))
    sections.append(_dataclass_section("data.csv", CsvDialect))
    sections.append(_dataclass_section("columns.NAME", Column))
    return "\n\n".join(sections)


def _model_section(path: str, model: type[BaseModel]) -> str:
    """Return the section of one model.

    Args:
        path: of its keys in a recipe, as in `training.`.
    """
    comments = _field_comments(model)
    rows = []
    for name, field in model.model_fields.items():
        if name == "name" and model is Recipe:
            # The name of a recipe is that of its file.
            continue
        if name == FILLED_IN and model is Network:
            continue
        default = "required" if field.is_required() else f"`{_plain_default(field)}`"
        rows.append(
            [f"`{name}`", _type_name(field.annotation), default, _sentence(comments.get(name, ""))]
        )
    title = path.rstrip(".") or "Top level"
    summary = ""
    if model.__doc__ and model.__doc__ != BaseModel.__doc__:
        summary = inspect.cleandoc(model.__doc__)
    return f"## {title}\n\n{summary}\n\n" + _table(KEY_HEADER, rows)


def _dataclass_section(path: str, section: type) -> str:
    """Return the section of keys that a dataclass states."""
    comments = _field_comments(section)
    types_by_name = typing.get_type_hints(section)
    rows = []
    for field in dataclasses.fields(section):
        default = "required"
        if field.default is not dataclasses.MISSING:
            default = f"`{_plain_value(field.default)}`"
        elif field.default_factory is not dataclasses.MISSING:
            default = f"`{_plain_value(field.default_factory())}`"
        type_name = _type_name(types_by_name[field.name])
        meaning = _sentence(comments.get(field.name, ""))
        rows.append([f"`{field.name}`", type_name, default, meaning])
    summary = inspect.getdoc(section)
    return f"## {path}\n\n{summary}\n\n" + _table(KEY_HEADER, rows)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def _plain_default(field: Any) -> str:
    return _plain_value(field.get_default(call_default_factory=True))


def _plain_value(default: Any) -> str:
    """Return a default as a recipe would state it."""
    if isinstance(default, BaseModel) or dataclasses.is_dataclass(default):
        return "see below"
    if default is None:
        return "none"
    if isinstance(default, str):
        return default
    return json.dumps(default, default=list)


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return TYPE_NAMES.get(annotation, "keys as below")
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        stated = [argument for argument in arguments if argument is not types.NoneType]
        names = [_type_name(argument) for argument in stated]
        # Several sections are one alternative here.
        return " or ".join(dict.fromkeys(names))
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    element_name = _type_name(next(part for part in arguments[::-1] if part is not Ellipsis))
    if origin is tuple:
        return f"list of {element_name}"
    return f"name → {element_name}"


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models that a type consists of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    models = []
    for argument in typing.get_args(annotation):
        models += _models_in(argument)
    return models


def _field_comments(model: type) -> dict[str, str]:
    """Return the comment behind each field, or above it, in the source."""
    comments = {}
    above = ""
    for line in inspect.getsource(model).splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            above = f"{above} {stripped.removeprefix('#').strip()}".strip()
            continue
        field = re.match(r"(\w+): [^#]*?(?:#\s*(.*))?$", stripped)
        if field:
            comments[field[1]] = (field[2] or above or "").replace("|", "\\|")
        above = ""
    return comments


def environment_reference() -> str:
    """Return every environment variable that creche reads."""
    rows = [[f"`{variable.name}`", variable.meaning] for variable in VARIABLES]
    return _table(["variable", "meaning"], rows)


def files_reference() -> str:
    """Return every record that is written or printed, with its fields."""
    parts = []
    for name, schema in json_schemas().items():
        rows = []
        for key, value in schema.get("properties", {}).items():
            rows.append([f"`{key}`", _schema_type(value)])
        summary = schema.get("description", "")
        link = f"[JSON schema](../schemas/{name}.schema.json)"
        parts.append(f"## {name}\n\n{summary}\n\n{link}\n\n" + _table(["key", "type"], rows))
    return "\n\n".join(parts)


def _schema_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(_schema_type(alternative) for alternative in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_schema_type(value.get('items', {}))}"
    return str(value.get("type", value.get("const", "any")))


def changelog() -> str:
    """Return the changelog without its title."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = []
    for row in [header, ["---"] * len(header), *rows]:
        cells = [cell.replace("\n", " ") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


GENERATORS = {
    "environment": environment_reference,
    "cli": cli_reference,
    "recipe": recipe_reference,
    "files": files_reference,
    "changelog": changelog,
}
