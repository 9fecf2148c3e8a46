"""What all readers have in common."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from creche.contract import Column
from creche.contract.number_format import NumberFormat
from creche.data.table_source import TableSource

BATCH_ROWS = 32_768
IMAGE_BATCH_ROWS = 1024
IMAGE_BATCH_BYTES = 32 << 20  # of encoded images, or of pixels, in one block
NOT_UTF8 = (
    "not UTF-8 text; save it as UTF-8 (`iconv -f LATIN1 -t UTF-8`, if it is in Latin 1), or state "
    "its encoding under data in the recipe, as csv: {encoding: latin-1}"
)


class Block(NamedTuple):
    """Some consecutive rows of one file, as they came."""

    row_numbers: np.ndarray  # 1-based, header and blank lines not counted (n,)
    cells: pa.RecordBatch  # n rows


@dataclass(frozen=True)
class MalformedRows:
    """Rows that are no rows of the table: more or fewer cells than its header, or no JSON
    object.
    """

    row_numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, row_number: int, text: str, reason: str) -> None:
        self.row_numbers.append(row_number)
        self.texts.append(text)
        self.reasons.append(reason)


@dataclass(frozen=True)
class BlockPlan:
    """How blocks are to be read, by what the contract says of the file's columns."""

    image_columns: Mapping[str, Column] = field(default_factory=dict)  # by name in the file
    category_names: frozenset[str] = frozenset()  # names in the file
    # Names in the file of columns of numbers whose decimal mark is to be found out → their format.
    unmarked_names: Mapping[str, NumberFormat] = field(default_factory=dict)
    # Names in the file of columns whose texts have a decimal comma, as the contract states.
    comma_names: frozenset[str] = frozenset()

    def block_rows(self, size: int = 0, rows: int = 0) -> int:
        """Return the rows of a block.

        Images make rows heavy, before or after they are decoded.

        Args:
            size: bytes of `rows` rows in the file.
        """
        if not self.image_columns:
            return BATCH_ROWS
        bytes_per_row = size // max(rows, 1)
        for column in self.image_columns.values():
            bytes_per_row = max(bytes_per_row, math.prod(column.shape))
        return max(1, min(IMAGE_BATCH_ROWS, IMAGE_BATCH_BYTES // bytes_per_row))


class FileReader:
    """One file, read from its beginning once.

    Attributes:
        header: the names of the file's columns, in order.
        schema: what the file itself says of its columns; empty where it says nothing.
        decimal_mark: what separates whole and fraction in its texts.
        malformed: rows that could not be read as rows; complete when all blocks were read.
    """

    format_name = "table"  # for messages
    has_header = True  # whether the names of the columns can be read without reading all rows
    decimal_mark = "."

    def __init__(self, source: TableSource, header: list[str] | None = None) -> None:
        self.source = source
        self.schema = pa.schema([])
        self.malformed = MalformedRows()
        self.header = self.read_header(header)

    def read_header(self, known: list[str] | None) -> list[str]:
        """Return the names of the columns.

        Raises:
            DataError, StopIteration, UnicodeDecodeError, pyarrow.ArrowInvalid, OSError: they cannot
            be read.
        """
        raise NotImplementedError

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        """Yield the rows in order."""
        raise NotImplementedError

    def origin(self, row_number: int) -> tuple[str, int]:
        """Return the name of the file that a row was read from, and its number there."""
        return self.source.name, row_number

    @property
    def origins(self) -> list[str]:
        """The names of all files that rows are read from."""
        return [self.source.name]


def numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
    """Check batches of a binary format, and number their rows from 1 on.

    Raises:
        pyarrow.ArrowInvalid: a text is not UTF-8, or an offset lies outside its buffer. Arrow
            trusts what it reads, and a damaged offset would end the process.
    """
    start = 1
    for cells in batches:
        cells.validate(full=True)
        yield Block(np.arange(start, start + cells.num_rows), cells)
        start += cells.num_rows
