"""Read a table once, and keep an evenly spread sample of its rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from creche.contract import Contract
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError
from creche.profile.distinct import DistinctCells, distinct_cells

SAMPLE_CELLS = 4_000_000  # from which the rows of a sample follow; up to twice as many are kept
FEWEST_SAMPLE_ROWS = 2000
MAX_SAMPLE_ROWS = 100_000
MAX_COLUMNS = 5000
IMAGE_COLLECTIONS = ("images", "cifar")  # which no recipe is written for


@dataclass(frozen=True)
class TableSample:
    """Rows of a table, evenly spread.

    Attributes:
        name: of the table in messages.
        header: names of its columns, in order.
        columns: the cells of the sample as they came, by name.
        rows: of the whole table.
        malformed_rows: rows with more or fewer cells than the header.
    """

    name: str
    header: tuple[str, ...]
    table: pa.Table
    rows: int
    malformed_rows: int

    @property
    def is_complete(self) -> bool:
        """Whether the sample is the whole table."""
        return bool(self.table.num_rows == self.rows)


def read_sample(source: TableSource) -> TableSample:
    """Return a sample of the rows of a table.

    Raises:
        DataError: it cannot be read, has no rows, or holds images.
    """
    if source.collection in IMAGE_COLLECTIONS:
        raise DataError(
            f"{source.name} holds images, for which a recipe is written by hand: see "
            "docs/guides/own-images.md"
        )
    reader = TableReader(source, Contract({}))
    _check_width(reader.header, source.name)
    thinning = _Thinning(len(reader.header))
    for block in reader.blocks():
        thinning.add(block.cells.select(reader.header))
    if thinning.rows == 0:
        raise DataError(f"{source.name} holds no rows: name a table with some")
    return TableSample(
        name=source.name,
        header=tuple(reader.header),
        table=thinning.table(),
        rows=thinning.rows,
        malformed_rows=len(reader.malformed.row_numbers),
    )


def _check_width(header: Sequence[str], name: str) -> None:
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{name} has {len(header):,} columns, and a recipe is written for {MAX_COLUMNS:,} at "
            "most: keep those that may matter, or write a recipe with a pattern such as "
            '`"sensor_*": {kind: number}`'
        )


class _Thinning:
    """Every n-th row of a table; n doubles where there are too many rows."""

    def __init__(self, columns: int) -> None:
        wanted = SAMPLE_CELLS // max(columns, 1)
        self.limit = 2 * min(MAX_SAMPLE_ROWS, max(FEWEST_SAMPLE_ROWS, wanted))
        self.stride = 1
        self.rows = 0
        self._kept: list[pa.Table] = []
        self._kept_rows = 0

    def add(self, cells: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        first = -self.rows % self.stride
        self.rows += cells.num_rows
        taken = (
            cells if self.stride == 1 else cells.take(_every(first, cells.num_rows, self.stride))
        )
        self._kept.append(as_table(taken))
        self._kept_rows += taken.num_rows
        while self._kept_rows > self.limit:
            self._halve()

    def _halve(self) -> None:
        table = self.table()
        self._kept = [table.take(_every(0, table.num_rows, 2)).combine_chunks()]
        self._kept_rows = self._kept[0].num_rows
        self.stride *= 2

    def table(self) -> pa.Table:
        """Return the rows that are kept."""
        try:
            return pa.concat_tables(self._kept)
        except pa.ArrowInvalid:
            # Files of one table, or blocks of one file, may have other types.
            return pa.concat_tables([_as_text(table) for table in self._kept])


def _every(first: int, rows: int, step: int) -> pa.Array:
    return pa.array(np.arange(first, rows, step))


def as_table(cells: pa.RecordBatch) -> pa.Table:
    """Return a block without dictionaries, whose values may differ from block to block."""
    columns = []
    for column in cells.columns:
        is_dictionary = pa.types.is_dictionary(column.type)
        columns.append(column.dictionary_decode() if is_dictionary else column)
    return pa.table(columns, names=cells.schema.names)


def _as_text(table: pa.Table) -> pa.Table:
    columns = []
    for column in table.columns:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            columns.append(pa.nulls(table.num_rows, pa.string()))
        else:
            columns.append(column.cast(pa.string()))
    return pa.table(columns, names=table.column_names)


def sample_columns(sample: TableSample) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each column of a sample with its name."""
    yield from zip(sample.header, sample.table.columns, strict=True)


def count_blocks(source: TableSource, header: Sequence[str]) -> Iterator[dict[str, DistinctCells]]:
    """Yield the distinct cells of each column, block by block, of the whole table."""
    for block in TableReader(source, Contract({})).blocks():
        table = as_table(block.cells.select(header))
        columns = zip(header, table.columns, strict=True)
        yield {name: distinct_cells(name, cells) for name, cells in columns}
