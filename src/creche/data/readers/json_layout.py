"""The layouts of JSON that hold rows: lines, an array, values one after the other, and pandas'
`split`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from creche.data.readers.json_values import ESCAPE, JsonScanner
from creche.data.table_source import TableSource
from creche.errors import DataError

CHUNK_BYTES = 2 << 20
SAMPLE_BYTES = 64 << 10  # in which the layout shows
ROWS_AT_ONCE = 8192  # of a document that has no lines
NOT_AN_OBJECT = "row: not a JSON object"
MAX_PLAIN_BRACKETS = 100  # of a line that is surely not nested too deeply
NOT_A_LIST = "row: not a JSON array"
SPLIT_KEYS = frozenset({"columns", "index", "data"})
SPLIT_START = re.compile(r'\s*\{\s*"(columns|index|data)"\s*:\s*\[')


class BadRow(NamedTuple):
    """A value that is no row."""

    text: str  # a line as it stands in the file; a value of a document is written as JSON again
    reason: str


Record = dict[str, Any]  # column → cell
JsonRow = Record | BadRow


class JsonLayout:
    """Where the rows of a file are.

    Args:
        source: the file.
    """

    def __init__(self, source: TableSource) -> None:
        self.source = source

    def rows(self) -> Iterator[list[JsonRow]]:
        """Yield the rows, some at a time."""
        raise NotImplementedError

    def columns(self) -> list[str] | None:
        """Return the columns that the file itself lists; None where each row names its own."""
        return None

    @contextmanager
    def _scan(self) -> Iterator[JsonScanner]:
        with self.source.open_stream() as stream:
            yield JsonScanner(stream, self.source.name)


class Lines(JsonLayout):
    """One object a line; a line that is none is a row for itself."""

    def rows(self) -> Iterator[list[JsonRow]]:
        rest = b""
        with self.source.open_stream() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                complete, newline, rest = (rest + bytes(chunk)).rpartition(b"\n")
                if newline:
                    yield _rows_of_lines(complete)
            if rest.strip():
                yield _rows_of_lines(rest)


class Array(JsonLayout):
    """An array of objects."""

    def rows(self) -> Iterator[list[JsonRow]]:
        with self._scan() as scanner:
            yield from _in_groups(_objects(scanner, scanner.elements()))
            scanner.expect_end()


class Values(JsonLayout):
    """Objects one after the other, that are not one a line."""

    def rows(self) -> Iterator[list[JsonRow]]:
        with self._scan() as scanner:
            yield from _in_groups(_objects(scanner, scanner.values()))


class Split(JsonLayout):
    """An object of `columns`, `data` and perhaps `index`, which is not read."""

    def columns(self) -> list[str]:
        names: list[str] = []
        with self._scan() as scanner:
            for key in scanner.members():
                if key == "columns":
                    names = [str(name) for name in scanner.elements()]
                    continue
                for _ in scanner.elements():
                    pass
            scanner.expect_end()
        return names

    def rows(self) -> Iterator[list[JsonRow]]:
        names = self.columns()
        with self._scan() as scanner:
            for key in scanner.members():
                elements = scanner.elements()
                if key == "data":
                    yield from _in_groups(_lists(scanner, elements, names))
                else:
                    for _ in elements:
                        pass
            scanner.expect_end()


def layout_of(source: TableSource) -> JsonLayout:
    """Return the layout of a file.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    with source.open_stream() as stream:
        start = bytes(stream.read(SAMPLE_BYTES))
    is_whole = len(start) < SAMPLE_BYTES
    # The sample may end in the middle of a character.
    sample = start.decode("utf-8-sig", "strict" if is_whole else "ignore").lstrip()
    if sample.startswith("["):
        return Array(source)
    first_line, newline, _ = sample.partition("\n")
    if newline or is_whole:
        record = parse(first_line)
        if record is not None:
            return Split(source) if _is_split(record) else Lines(source)
    if SPLIT_START.match(sample) and _has_split_keys(source):
        return Split(source)
    return Values(source) if _begins_with_values(sample) else Lines(source)


def _is_split(record: dict[str, Any]) -> bool:
    has_both = {"columns", "data"} <= record.keys() <= SPLIT_KEYS
    return has_both and all(isinstance(value, list) for value in record.values())


def _has_split_keys(source: TableSource) -> bool:
    """Whether a document that begins as `split` does has both its keys; one that is damaged before
    them counts as if, so that the damage is named.
    """
    seen = set()
    with source.open_stream() as stream:
        scanner = JsonScanner(stream, source.name)
        try:
            for key in scanner.members():
                if key not in SPLIT_KEYS or scanner.peek() != "[":
                    return False
                seen.add(key)
                if {"columns", "data"} <= seen:
                    return True
                for _ in scanner.elements():
                    pass
        except DataError:
            return True
    return False


def _begins_with_values(sample: str) -> bool:
    """Whether the first object has several lines, or another one behind it on its line.

    Where it has a line for itself, so have the others, and one that is damaged is a row.
    """
    try:
        value, end = json.JSONDecoder().raw_decode(sample)
    except (ValueError, RecursionError):
        return False
    is_on_one_line = "\n" not in sample[:end]
    has_another_behind = sample[end:].lstrip(" \t").startswith("{")
    return isinstance(value, dict) and (has_another_behind or not is_on_one_line)


def _rows_of_lines(content: bytes) -> list[JsonRow]:
    rows: list[JsonRow] = []
    for line in content.decode("utf-8-sig").split("\n"):
        if line.strip():
            record = parse(line)
            rows.append(BadRow(line, NOT_AN_OBJECT) if record is None else record)
    return rows


def parse(line: str) -> Record | None:
    """Return the object of a line; None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    is_plain = ESCAPE not in line and line.count("[") + line.count("{") < MAX_PLAIN_BRACKETS
    return record if is_plain or _can_be_written(record) else None


def _can_be_written(value: Any) -> bool:
    """Whether a value can be written as JSON: half a surrogate pair is no text, and it may be
    nested too deeply.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _objects(scanner: JsonScanner, values: Iterator[Any]) -> Iterator[JsonRow]:
    for value in values:
        is_good = isinstance(value, dict) and (scanner.is_plain or _can_be_written(value))
        yield value if is_good else BadRow(_shown(value), NOT_AN_OBJECT)


def _lists(scanner: JsonScanner, values: Iterator[Any], names: list[str]) -> Iterator[JsonRow]:
    for value in values:
        is_good = isinstance(value, list) and (scanner.is_plain or _can_be_written(value))
        if not is_good:
            yield BadRow(_shown(value), NOT_A_LIST)
        elif len(value) != len(names):
            reason = f"row: {len(value)} cells where the header has {len(names)}"
            yield BadRow(_shown(value), reason)
        else:
            yield dict(zip(names, value, strict=True))


def _shown(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return ""


def _in_groups(rows: Iterator[JsonRow]) -> Iterator[list[JsonRow]]:
    group = []
    for row in rows:
        group.append(row)
        if len(group) == ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group
