"""Read the metadata of an ONNX file: JSON sections, their keys and types checked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, TypeVar, get_origin

from creche.errors import DataError, ModelError

KEY_PREFIX = "creche."
TYPE_NAMES = {float: "a number", int: "a whole number", str: "a text", dict: "an object"}

AnySection = TypeVar("AnySection")


class MetadataReader:
    """Reads sections of one file; every error is a `ModelError` that names file and section."""

    def __init__(self, properties: Mapping[str, str], file: str) -> None:
        """Take the metadata properties of an ONNX file, and its name for messages."""
        self.properties = properties
        self.file = file

    def json(self, section: str) -> Any:
        """Return a section as JSON."""
        key = f"{KEY_PREFIX}{section}"
        if key not in self.properties:
            raise ModelError(
                f"{self.file} is an ONNX model, but not one of creche's: it lacks {key}"
            )
        try:
            return json.loads(self.properties[key])
        except ValueError as error:
            raise ModelError(f"{self._where(section)} is not valid JSON ({error})") from None

    def text(self, section: str) -> str:
        """Return a section that is one text."""
        value = self.json(section)
        if not isinstance(value, str):
            raise ModelError(f"{self._where(section)} is {value!r}, not a text")
        return value

    def parsed(self, section: str, parse: Callable[[Any], AnySection]) -> AnySection:
        """Return a section that a class of its own parses."""
        value = self.json(section)
        try:
            return parse(value)
        except (AttributeError, KeyError, TypeError, ValueError, DataError) as error:
            raise ModelError(f"{self._where(section)} cannot be read ({error})") from None

    def section(self, section: str, section_type: type[AnySection]) -> AnySection:
        """Return a section as its dataclass."""
        value = self.json(section)
        where = self._where(section)
        if not isinstance(value, dict):
            raise ModelError(f"{where} is {value!r}, not a JSON object")
        expected = {field.name: field for field in fields(section_type)}  # type: ignore[arg-type]
        for name in value:
            if name not in expected:
                raise ModelError(f"{where} has an unknown key '{name}'")
        for field in expected.values():
            _check_field(field, value, where)
        return section_type(**value)

    def _where(self, section: str) -> str:
        return f"{self.file}: {KEY_PREFIX}{section}"


def _check_field(field: Field[Any], section: Mapping[str, Any], where: str) -> None:
    if field.name not in section:
        if field.default is MISSING:
            raise ModelError(f"{where} lacks '{field.name}'")
        return
    value = section[field.name]
    if not _has_type(value, field.type):
        raise ModelError(f"{where}: '{field.name}' is {value!r}, not {_type_name(field.type)}")


def _has_type(value: Any, expected: Any) -> bool:
    """Return whether a JSON value has the type of a field.

    What a list or an object holds is not checked.
    """
    if expected is float:
        return isinstance(value, int | float)
    if isinstance(expected, UnionType):
        return isinstance(value, expected)
    return isinstance(value, get_origin(expected) or expected)


def _type_name(expected: Any) -> str:
    if isinstance(expected, UnionType):
        return str(expected)
    return TYPE_NAMES.get(get_origin(expected) or expected, "a list")
