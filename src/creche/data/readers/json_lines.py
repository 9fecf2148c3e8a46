"""JSON lines: one object a line; a cell may be of any type in any row."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from creche.data.readers.base import Block, BlockPlan, FileReader
from creche.data.readers.csv import BLOCK_BYTES

NOT_AN_OBJECT = "row: not a JSON object"


class JsonLinesReader(FileReader):
    """A file of JSON lines."""

    format_name = "json"
    has_header = False

    def read_header(self, known: list[str] | None) -> list[str]:
        if known is not None:
            return known
        names: dict[str, None] = {}
        # To its end: a key may show in the last line for the first time.
        for lines in self._lines():
            for line in lines:
                names.update(dict.fromkeys(_parse(line) or ()))
        if not names:
            raise StopIteration
        return list(names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        first_row = 1
        for lines in self._lines():
            yield self._block(lines, first_row)
            first_row += len(lines)

    def _lines(self) -> Iterator[list[str]]:
        """Yield the lines that are not blank, some at a time."""
        rest = b""
        with self.source.open_stream() as stream:
            while chunk := stream.read(BLOCK_BYTES):
                complete, newline, rest = (rest + bytes(chunk)).rpartition(b"\n")
                if newline:
                    yield _split(complete)
            if rest.strip():
                yield _split(rest)

    def _block(self, lines: list[str], first_row: int) -> Block:
        objects = []
        row_numbers = []
        for row_number, line in enumerate(lines, first_row):
            record = _parse(line)
            if record is None:
                self.malformed.add(row_number, line, NOT_AN_OBJECT)
                continue
            objects.append(record)
            row_numbers.append(row_number)
        columns = []
        for name in self.header:
            columns.append(_as_texts([record.get(name) for record in objects]))
        cells = pa.RecordBatch.from_arrays(columns, names=self.header)
        return Block(np.array(row_numbers, np.int64), cells)


def _split(content: bytes) -> list[str]:
    return [line for line in content.decode("utf-8-sig").split("\n") if line.strip()]


def _parse(line: str) -> dict[str, Any] | None:
    """Return the object of a line; None where it is none."""
    try:
        record = json.loads(line)
        # Half a surrogate pair is no text.
        json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _as_texts(values: list[Any]) -> pa.Array:
    """Return JSON values as text, since one column may hold several types; null where there is
    none.
    """
    texts = []
    for value in values:
        is_text = value is None or isinstance(value, str)
        texts.append(value if is_text else json.dumps(value))
    return pa.array(np.array(texts, dtype=object), pa.string())
