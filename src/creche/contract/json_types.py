"""Check JSON that was not necessarily written here against the types of a dataclass.

It stands in for pydantic where a model file is read, which takes longer to import than
`creche predict` takes to run.
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
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

SCALARS = (bool, float, int, str, NoneType)
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
    if not _is_of(value, expected):
        raise ValueError(f"{_place(where, path)} is {shown(value)}, not {_type_name(expected)}")
    origin = get_origin(expected) or expected
    arguments = get_args(expected)
    if origin is Annotated:
        _check_range(value, arguments[1], where, path)
    elif is_dataclass(origin):
        _check_fields(value, fields(origin), where, path)
    elif is_typeddict(origin):
        _check_keys(value, get_type_hints(origin), where, path)
    elif origin in (list, tuple) and arguments:
        for position, item in enumerate(value):
            check_json(item, arguments[0], where, f"{path}[{position}]")
    elif origin in (dict, Mapping) and arguments:
        for key, item in value.items():
            check_json(item, arguments[1], where, _joined(path, key))


def _is_of(value: Any, expected: Any) -> bool:
    """Return whether a value is of a type, whatever it holds; alternatives are checked entirely."""
    scalars = _scalar_types(expected)
    if scalars is not None:
        return any(_is_instance(value, scalar) for scalar in scalars)
    origin = get_origin(expected) or expected
    arguments = get_args(expected)
    if origin is Annotated:
        return _is_of(value, arguments[0])
    if origin in (Union, UnionType):
        return any(_matches(value, alternative) for alternative in arguments)
    if origin is Literal:
        return any(value == known and type(value) is type(known) for known in arguments)
    if is_dataclass(origin) or is_typeddict(origin):
        return isinstance(value, dict)
    return _is_instance(value, origin)


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


@cache
def _scalar_types(expected: Any) -> tuple[Any, ...] | None:
    """Return the alternatives of a type none of which holds other values; None: some do."""
    is_union = get_origin(expected) in (Union, UnionType)
    alternatives = get_args(expected) if is_union else (expected,)
    are_scalars = all(alternative in SCALARS for alternative in alternatives)
    return alternatives if are_scalars else None


def _check_range(value: float, bounds: Range, where: str, path: str) -> None:
    if not bounds.smallest <= value <= bounds.largest:
        limits = f"between {bounds.smallest:g} and {bounds.largest:g}"
        raise ValueError(f"{_place(where, path)} is {shown(value)}, not {limits}")


def _check_fields(
    value: Mapping[str, Any], expected_fields: tuple[Field[Any], ...], where: str, path: str
) -> None:
    """Check an object against the fields of a dataclass."""
    expected = {field.name: field for field in expected_fields}
    for name in value:
        if name not in expected:
            raise ValueError(f"{_place(where, path)} has an unknown key '{name}'")
    for name, field in expected.items():
        if name in value:
            check_json(value[name], field.type, where, _joined(path, name))
        elif not _has_default(field):
            raise ValueError(f"{_place(where, path)} lacks '{name}'")


def _check_keys(
    value: Mapping[str, Any], expected: Mapping[str, Any], where: str, path: str
) -> None:
    """Check an object against the keys of a TypedDict."""
    for name, item_type in expected.items():
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


def _place(where: str, path: str) -> str:
    return f"{where}: '{path}'" if path else where


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _type_name(expected: Any) -> str:
    origin = get_origin(expected) or expected
    if origin is Annotated:
        return _type_name(get_args(expected)[0])
    if origin in (Union, UnionType):
        return " or ".join(_type_name(alternative) for alternative in get_args(expected))
    if origin is Literal:
        return " or ".join(map(repr, get_args(expected)))
    if origin is Mapping:
        origin = dict
    return TYPE_NAMES.get(origin, "a JSON object")
