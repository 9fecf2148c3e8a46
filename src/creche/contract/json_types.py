"""Check JSON that was not necessarily written here against the types of a dataclass.

It stands in for pydantic where a model file is read, which takes longer to import than
`creche predict` takes to run.
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

SHOWN_CHARACTERS = 60  # of a value, in a message
TYPE_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    NoneType: "null",
    list: "a list",
    tuple: "a list",
    dict: "a JSON object",
}

SCHEMA_TYPES: Mapping[Any, str] = {
    bool: "boolean",
    float: "number",
    int: "integer",
    str: "string",
    NoneType: "null",
    list: "array",
    tuple: "array",
    dict: "object",
    Mapping: "object",
}


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value of a number, as in `Annotated[float, Range(0, 1)]`."""

    smallest: float
    largest: float


def check_json(value: Any, expected: Any, where: str, path: str = "") -> None:
    """Check that JSON has a type, and all that it holds as well.

    Args:
        value: as `json.loads` returns it.
        expected: a dataclass, a TypedDict, or a type as their fields have it: tuples are lists in
            JSON, and a dataclass or a TypedDict is an object. Of a TypedDict more keys may be
            there.
        where: the value's place, as a message begins.
        path: of the value below that place, as `rows[3]`.

    Raises:
        ValueError: it has not; the message says where, and what is there.
    """
    origin = get_origin(expected) or expected
    arguments = get_args(expected)
    if origin is Annotated:
        _check_range(value, expected, where, path)
    elif origin in (Union, UnionType):
        if not any(_matches(value, alternative) for alternative in arguments):
            raise ValueError(_mismatch(value, expected, where, path))
    elif origin is Literal:
        if not any(value == known and type(value) is type(known) for known in arguments):
            raise ValueError(_mismatch(value, expected, where, path))
    elif is_dataclass(origin):
        _check_object(value, fields(origin), where, path)
    elif is_typeddict(origin):
        _check_typed_dict(value, origin, where, path)
    elif not _is_instance(value, origin):
        raise ValueError(_mismatch(value, expected, where, path))
    elif isinstance(value, list | tuple) and arguments:
        for position, item in enumerate(value):
            check_json(item, arguments[0], where, f"{path}[{position}]")
    elif isinstance(value, dict) and arguments:
        for key, item in value.items():
            check_json(item, arguments[1], where, _joined(path, key))


def json_schema(expected: Any) -> dict[str, Any]:
    """Return the JSON schema of a type, as `check_json` checks it."""
    origin = get_origin(expected) or expected
    arguments = get_args(expected)
    if origin is Annotated:
        limits = {"minimum": arguments[1].smallest, "maximum": arguments[1].largest}
        return {**json_schema(arguments[0]), **limits}
    if origin in (Union, UnionType):
        return {"anyOf": [json_schema(alternative) for alternative in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if is_dataclass(origin):
        properties = {field.name: json_schema(field.type) for field in fields(origin)}
        required = [field.name for field in fields(origin) if not _has_default(field)]
        return _object_schema(properties, required, additional=False)
    if is_typeddict(origin):
        types = get_type_hints(origin)
        properties = {name: json_schema(item_type) for name, item_type in types.items()}
        return _object_schema(properties, list(properties), additional=True)
    if origin is Any:
        return {}
    schema: dict[str, Any] = {"type": SCHEMA_TYPES[origin]}
    if arguments:
        key = "items" if schema["type"] == "array" else "additionalProperties"
        schema[key] = json_schema(arguments[0 if key == "items" else 1])
    return schema


def _object_schema(
    properties: dict[str, Any], required: list[str], additional: bool
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": additional,
    }


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _check_range(value: Any, expected: Any, where: str, path: str) -> None:
    number_type, bounds = get_args(expected)
    check_json(value, number_type, where, path)
    if not bounds.smallest <= value <= bounds.largest:
        limits = f"between {bounds.smallest:g} and {bounds.largest:g}"
        raise ValueError(f"{_place(where, path)} is {shown(value)}, not {limits}")


def _check_object(
    value: Any, expected_fields: tuple[Field[Any], ...], where: str, path: str
) -> None:
    if not isinstance(value, dict):
        raise ValueError(_mismatch(value, dict, where, path))
    expected = {field.name: field for field in expected_fields}
    for name in value:
        if name not in expected:
            raise ValueError(f"{_place(where, path)} has an unknown key '{name}'")
    for name, field in expected.items():
        if name in value:
            check_json(value[name], field.type, where, _joined(path, name))
        elif not _has_default(field):
            raise ValueError(f"{_place(where, path)} lacks '{name}'")


def _check_typed_dict(value: Any, expected: Any, where: str, path: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(_mismatch(value, dict, where, path))
    for name, item_type in get_type_hints(expected).items():
        if name not in value:
            raise ValueError(f"{_place(where, path)} lacks '{name}'")
        check_json(value[name], item_type, where, _joined(path, name))


def _matches(value: Any, expected: Any) -> bool:
    try:
        check_json(value, expected, "")
    except ValueError:
        return False
    return True


def _is_instance(value: Any, expected: Any) -> bool:
    """Return whether JSON is of a type; a boolean is no number, and NaN and infinity are none."""
    if expected is Any:
        return True
    if expected in (float, int):
        is_number = isinstance(value, int if expected is int else int | float)
        return is_number and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if expected in (list, tuple):
        return isinstance(value, list | tuple)
    if expected in (dict, Mapping):
        return isinstance(value, dict)
    return isinstance(value, expected)


def _mismatch(value: Any, expected: Any, where: str, path: str) -> str:
    return f"{_place(where, path)} is {shown(value)}, not {_type_name(expected)}"


def _place(where: str, path: str) -> str:
    return f"{where}: '{path}'" if path else where


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _type_name(expected: Any) -> str:
    origin = get_origin(expected) or expected
    if origin in (Union, UnionType):
        return " or ".join(_type_name(alternative) for alternative in get_args(expected))
    if origin is Literal:
        return " or ".join(map(repr, get_args(expected)))
    if origin is Mapping:
        origin = dict
    return TYPE_NAMES.get(origin, "a JSON object")
