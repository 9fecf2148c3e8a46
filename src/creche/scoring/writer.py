"""Files of predictions and quarantine, whose bytes depend on the rows alone, not on the blocks in
which they came.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from creche.project import atomic_write

OutputFormat = Literal["parquet", "csv", "jsonl"]
GROUP_ROWS = 131_072  # rows that are written at once
BINARY_GROUP_ROWS = 256  # the same where cells may be images


class TableWriter:
    """A file that grows by blocks of rows.

    Rows are collected into groups of one size before they are written, so that the size of the
    blocks does not show in the file.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.group_rows = group_rows(schema)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._open(path)

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows; a column that they lack is null, one of another type is converted."""
        if not rows.num_rows:
            return
        self._waiting.append(conform(rows, self.schema))
        self._waiting_rows += rows.num_rows
        while self._waiting_rows >= self.group_rows:
            self._flush(self.group_rows)

    def close(self) -> None:
        """Write the last group, and close the file."""
        if self._waiting_rows:
            self._flush(self._waiting_rows)
        self._close()

    def _flush(self, rows: int) -> None:
        # Concatenation copies nothing; the group is copied once, into contiguous arrays.
        joined = pa.concat_tables(self._waiting)
        rest = joined.slice(rows)
        self._waiting = [rest] if rest.num_rows else []
        self._waiting_rows = rest.num_rows
        self._write_group(joined.slice(0, rows).combine_chunks())

    def _open(self, path: Path) -> None:
        raise NotImplementedError

    def _write_group(self, group: pa.Table) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class ParquetTableWriter(TableWriter):
    """Parquet, a row group each time."""

    def _open(self, path: Path) -> None:
        dictionary_names = [f.name for f in self.schema if pa.types.is_dictionary(f.type)]
        self._file = pq.ParquetWriter(path, self.schema, use_dictionary=dictionary_names)

    def _write_group(self, group: pa.Table) -> None:
        self._file.write_table(group, row_group_size=self.group_rows)

    def _close(self) -> None:
        self._file.close()


class CsvTableWriter(TableWriter):
    """CSV."""

    def _open(self, path: Path) -> None:
        # The CSV writer takes neither dictionaries nor nested types.
        fields = [pa.field(field.name, _csv_type(field.type)) for field in self.schema]
        self._csv_schema = pa.schema(fields)
        self._file = pa.csv.CSVWriter(path, self._csv_schema)

    def _write_group(self, group: pa.Table) -> None:
        self._file.write_table(conform(group, self._csv_schema))

    def _close(self) -> None:
        self._file.close()


class JsonLinesTableWriter(TableWriter):
    """JSON lines."""

    def _open(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def _write_group(self, group: pa.Table) -> None:
        fields = []
        for field in group.schema:
            # Python's dates end with the year 9999, Arrow's do not.
            is_temporal = pa.types.is_temporal(field.type)
            fields.append(field.with_type(pa.string()) if is_temporal else field)
        group = conform(group, pa.schema(fields))
        columns = [column.to_pylist() for column in group.columns]
        names = group.column_names
        for row in zip(*columns, strict=True):
            cells = {name: _finite(cell) for name, cell in zip(names, row, strict=True)}
            line = json.dumps(cells, ensure_ascii=False, default=str, allow_nan=False)
            self._file.write(line + "\n")

    def _close(self) -> None:
        self._file.close()


WRITERS: dict[OutputFormat, type[TableWriter]] = {
    "parquet": ParquetTableWriter,
    "csv": CsvTableWriter,
    "jsonl": JsonLinesTableWriter,
}


@contextmanager
def open_writer(
    path: Path, schema: pa.Schema, output_format: OutputFormat
) -> Iterator[TableWriter]:
    """Open a file that takes its name when it is whole.

    Each process writes to a temporary name of its own, so that two that do the same job do not
    write into one file.
    """
    with (
        atomic_write(path) as unfinished,
        WRITERS[output_format](unfinished, schema) as writer,
    ):
        yield writer


def group_rows(schema: pa.Schema) -> int:
    """Return how many rows of a schema are handled at once."""
    has_binary = any(pa.types.is_binary(field.type) for field in schema)
    return BINARY_GROUP_ROWS if has_binary else GROUP_ROWS


def conform(rows: pa.Table | pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Return rows as a table of the schema: absent columns are null, others are converted."""
    if rows.schema != schema:
        positions = {name: position for position, name in enumerate(rows.schema.names)}
        columns = [_convert(rows, positions.get(field.name), field) for field in schema]
        return pa.table(columns, schema=schema)
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    return rows


def _convert(rows: pa.Table | pa.RecordBatch, position: int | None, field: pa.Field) -> Any:
    """Return the column at a position of the rows as a field has it; None: they lack it."""
    if position is None:
        return pa.nulls(rows.num_rows, field.type)
    cells = rows.column(position)
    if cells.type == field.type:
        return cells
    try:
        return cells.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Arrow has no text for lists, structs and some times: Python's is written.
        texts = [None if cell is None else str(cell) for cell in cells.to_pylist()]
        return pa.array(np.array(texts, dtype=object), field.type)


def _csv_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type in which the CSV writer can write a column."""
    if pa.types.is_dictionary(arrow_type):
        return arrow_type.value_type
    is_extension = isinstance(arrow_type, pa.BaseExtensionType)
    if is_extension or pa.types.is_nested(arrow_type) or pa.types.is_binary(arrow_type):
        return pa.string()
    return arrow_type


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it, which has neither NaN nor infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
