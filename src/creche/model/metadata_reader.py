"""Read the metadata of an ONNX file: JSON sections, their sizes and types checked."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from creche.contract.json_types import check_json, shown
from creche.errors import DataError, ModelError

KEY_PREFIX = "creche."
MAX_BYTES = 64 << 20  # of a section, as UTF-8
# Images as text: two of each of 1000 classes, 224 × 224 pixels, are 400 MB.
MAX_GOLDEN_BYTES = 512 << 20

AnySection = TypeVar("AnySection")


class MetadataReader:
    """Reads sections of one file; every error is a `ModelError` that names file and section."""

    def __init__(self, properties: Mapping[str, str], file: str) -> None:
        """Take the metadata properties of an ONNX file, and its name for messages."""
        self.properties = properties
        self.file = file

    def has(self, section: str) -> bool:
        """Whether the file has a section that may be left out."""
        return f"{KEY_PREFIX}{section}" in self.properties

    def json(self, section: str) -> Any:
        """Return a section as JSON."""
        key = f"{KEY_PREFIX}{section}"
        if key not in self.properties:
            raise ModelError(
                f"{self.file} is an ONNX model, but not one of creche's: it lacks {key}"
            )
        text = self.properties[key]
        max_bytes = MAX_GOLDEN_BYTES if section == "golden" else MAX_BYTES
        # A character has one byte at least.
        if len(text) > max_bytes:
            raise ModelError(f"{self.where(section)} has more than {max_bytes:,} bytes")
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{self.where(section)} is not valid JSON ({error})") from None

    def text(self, section: str) -> str:
        """Return a section that is one text."""
        value = self.json(section)
        if not isinstance(value, str):
            raise ModelError(f"{self.where(section)} is {shown(value)}, not a text")
        return value

    def parsed(self, section: str, parse: Callable[[Any], AnySection]) -> AnySection:
        """Return a section that a class of its own parses."""
        value = self.json(section)
        try:
            return parse(value)
        except (ValueError, DataError) as error:
            raise ModelError(f"{self.where(section)} cannot be read ({error})") from None

    def optional(
        self, section: str, parse: Callable[[Any], AnySection], default: AnySection
    ) -> AnySection:
        """Return a section that a class of its own parses; the default where there is none."""
        if f"{KEY_PREFIX}{section}" not in self.properties:
            return default
        return self.parsed(section, parse)

    def section(self, section: str, section_type: type[AnySection]) -> AnySection:
        """Return a section as its dataclass."""
        value = self.json(section)
        try:
            check_json(value, section_type, self.where(section))
        except ValueError as error:
            raise ModelError(str(error)) from None
        return section_type(**value)

    def where(self, section: str) -> str:
        """Return the place of a section, as a message begins."""
        return f"{self.file}: {KEY_PREFIX}{section}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
