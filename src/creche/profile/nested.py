"""Tell lists and structs that a file holds as text, as JSON and CSV files do."""

import json
from typing import Any

import pyarrow as pa

CHECKED_TEXTS = 200  # distinct ones of a column
BRACKETS = ("[", "{")


def holds_json_values(texts: pa.Array) -> bool:
    """Whether the distinct texts of a column are lists or structs, written as JSON.

    Intervals such as `[0, 10]`, lists of two numbers, are none: they are categories.
    """
    if not len(texts) or not texts[0].as_py().startswith(BRACKETS):
        return False
    values = [_container(text) for text in texts.slice(0, CHECKED_TEXTS).to_pylist()]
    if any(value is None for value in values):
        return False
    return not all(_is_interval(value) for value in values)


def _container(text: str) -> Any:
    """Return the list or struct that a text is; None where it is none."""
    if not text.startswith(BRACKETS):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_interval(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(isinstance(end, int | float) for end in value)
