"""Predictions into files whose bytes depend on the rows alone, not on the blocks in which they
came.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

Format = Literal["parquet", "csv", "jsonl"]
GROUP_ROWS = 131_072  # rows of a Parquet row group
BYTES_ROWS = 256  # of one whose cells may be pictures


class Writer:
    """A file that grows by tables; what a table lacks of the schema is null."""

    def __init__(self, path: Path, schema: pa.Schema, format_: Format = "parquet") -> None:
        self.schema, self._waiting, self._rows = schema, list[pa.Table](), 0
        self._file: Any = None
        self._group = BYTES_ROWS if any(pa.types.is_binary(f.type) for f in schema) else GROUP_ROWS
        match format_:
            case "csv":
                self._plain = pa.schema([pa.field(f.name, _plain(f.type)) for f in schema])
                self._file = pa.csv.CSVWriter(path, self._plain)
            case "jsonl":
                self._lines = path.open("w", encoding="utf-8")
            case _:
                listed = [f.name for f in schema if pa.types.is_dictionary(f.type)]
                self._file = pq.ParquetWriter(path, schema, use_dictionary=listed)
        self.format = format_

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        if not table.num_rows:
            return
        if table.schema != self.schema:
            table = pa.table([_cells(table, f) for f in self.schema], schema=self.schema)
        elif isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self._waiting.append(table)
        self._rows += table.num_rows
        while self._rows >= self._group:
            self._flush(self._group)

    def _flush(self, rows: int) -> None:
        joined = pa.concat_tables(self._waiting)
        group, rest = joined.slice(0, rows).combine_chunks(), joined.slice(rows)
        self._waiting, self._rows = ([rest] if rest.num_rows else []), rest.num_rows
        match self.format:
            case "csv":
                self._file.write_table(
                    pa.table([_cells(group, f) for f in self._plain], schema=self._plain)
                )
            case "jsonl":
                dated = pa.schema(
                    [
                        f.with_type(pa.string()) if pa.types.is_temporal(f.type) else f
                        for f in group.schema
                    ]
                )
                group = pa.table(
                    [_cells(group, f) for f in dated], schema=dated
                )  # Python's dates end with the year 9999
                names = group.schema.names
                for row in zip(*(c.to_pylist() for c in group.columns), strict=True):
                    record = {n: _finite(v) for n, v in zip(names, row, strict=True)}
                    self._lines.write(
                        json.dumps(record, ensure_ascii=False, default=str, allow_nan=False) + "\n"
                    )
            case _:
                self._file.write_table(group, row_group_size=self._group)

    def close(self) -> None:
        if self._rows:
            self._flush(self._rows)
        (self._lines if self.format == "jsonl" else self._file).close()


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_binary(kind) else kind


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinities, and no dates."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value


def _cells(table: pa.Table | pa.RecordBatch, field: pa.Field) -> Any:
    if field.name not in table.schema.names:
        return pa.nulls(table.num_rows, field.type)
    cells = table.column(field.name)
    if cells.type == field.type:
        return cells
    try:
        return cells.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(
            np.array([None if c is None else str(c) for c in cells.to_pylist()], dtype=object),
            field.type,
        )
