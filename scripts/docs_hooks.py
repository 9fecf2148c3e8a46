"""mkdocs hooks: reference pages come from the code, so that they cannot fall behind it.

A page names what it wants in a comment, `<!-- generated: cli -->`, and gets it in its place.
"""

import argparse
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from creche.cli.main import build_parser
from creche.contract import Column
from creche.recipe import Recipe
from creche.records import json_schemas
from creche.settings import VARIABLES

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"<!-- generated: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the generated parts of a page."""
    return MARK.sub(lambda match: GENERATORS[match[1]](), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Publish the JSON schema of every record beside the pages."""
    folder = Path(config["site_dir"]) / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


def cli_reference() -> str:
    """Every command with its arguments and its example, from the parser."""
    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = [str(parser.epilog)]
    for name, command in commands.choices.items():
        parts.append(
            f"## creche {name}\n\n{command.description}\n\n```console\n$ {_example(command)}\n```"
        )
        rows = [_argument_row(action) for action in command._actions if action.dest != "help"]
        parts.append(_table(["argument", "meaning"], rows))
    return "\n\n".join(parts)


def _example(command: argparse.ArgumentParser) -> str:
    return str(command.epilog).removeprefix("example: ")


def _argument_row(action: argparse.Action) -> list[str]:
    names = ", ".join(action.option_strings)
    metavar = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
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
    """Every key of a recipe with type, default and meaning, from the pydantic models."""
    sections: list[tuple[str, type[BaseModel]]] = [("", Recipe)]
    done: set[type[BaseModel]] = set()
    parts = []
    while sections:
        path, model = sections.pop(0)
        if model in done:
            continue
        done.add(model)
        comments = _field_comments(model)
        rows = []
        for name, field in model.model_fields.items():
            if name == "name" and model is Recipe:
                continue
            default = "required" if field.is_required() else f"`{_plain_default(field)}`"
            rows.append(
                [f"`{name}`", f"`{_type_name(field.annotation)}`", default, comments.get(name, "")]
            )
            sections += [(f"{path}{name}.", part) for part in _models_in(field.annotation)]
        title = path.rstrip(".") or "Top level"
        summary = (model.__doc__ or "").strip() if model.__doc__ != BaseModel.__doc__ else ""
        parts.append(
            f"## {title}\n\n{summary}\n\n" + _table(["key", "type", "default", "meaning"], rows)
        )
    column_comments = _field_comments(Column)
    rows = [
        [f"`{name}`", column_comments.get(name, "")]
        for name in Column.__dataclass_fields__
        if name[0] != "_"
    ]
    parts.append(f"## columns.NAME\n\n{Column.__doc__}\n\n" + _table(["key", "meaning"], rows))
    return "\n\n".join(parts)


def _plain_default(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "see below"
    return json.dumps(default, default=list) if not isinstance(default, str) else default


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(a) for a in arguments)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    inner = ", ".join(_type_name(a) for a in arguments if a is not Ellipsis)
    return f"{getattr(origin, '__name__', origin)} of {inner}" if inner else str(annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for a in typing.get_args(annotation) for model in _models_in(a)]


def _field_comments(model: type) -> dict[str, str]:
    """The comment behind each field, or above it, in the source."""
    import inspect

    comments, above = {}, ""
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
    """Every environment variable that creche reads."""
    rows = [[f"`{variable.name}`", variable.meaning] for variable in VARIABLES]
    return _table(["variable", "meaning"], rows)


def files_reference() -> str:
    """Every record that is written or printed, with its fields."""
    parts = []
    for name, schema in json_schemas().items():
        rows = [
            [f"`{key}`", _schema_type(value)] for key, value in schema.get("properties", {}).items()
        ]
        summary = schema.get("description", "")
        link = f"[JSON schema](../schemas/{name}.schema.json)"
        parts.append(f"## {name}\n\n{summary}\n\n{link}\n\n" + _table(["key", "type"], rows))
    return "\n\n".join(parts)


def _schema_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(_schema_type(v) for v in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_schema_type(value.get('items', {}))}"
    return str(value.get("type", value.get("const", "any")))


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines
    )


GENERATORS = {
    "environment": environment_reference,
    "cli": cli_reference,
    "recipe": recipe_reference,
    "files": files_reference,
    "changelog": changelog,
}
