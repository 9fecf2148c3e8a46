"""CSV: separators are detected, cells are read as text, rows of another length are named."""

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from creche.contract.number_format import NumberFormat
from creche.data.readers.base import Block, BlockPlan, FileReader
from creche.data.readers.csv_head import read_head
from creche.data.readers.csv_lines import table_lines
from creche.data.readers.decimal_mark import COMMA, POINT, MarksSeen, numbers_with_marks
from creche.errors import DataError

BLOCK_BYTES = 2 << 20  # some 50,000 rows of a narrow table
NEWLINE = 10
JOINED_LINES = "row: a quote joins {} lines that may be rows of the table"
SWALLOWED_ROWS = 3  # in one cell, from which on a quote counts as not closed


class _InvalidTextFilter:
    """Keeps Python from printing a traceback where a malformed row is no UTF-8.

    Arrow cannot pass such a row on, and then refuses the file, which is the error to be seen. The
    hook belongs to the whole process, so it is set while any file is read, and restored once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._report = sys.unraisablehook

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._report = sys.unraisablehook
                sys.unraisablehook = self._report_others
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                sys.unraisablehook = self._report

    def _report_others(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            self._report(unraisable)


INVALID_TEXT_FILTER = _InvalidTextFilter()


class CsvReader(FileReader):
    """A CSV file."""

    format_name = "csv"
    known_mark: str | None = None  # the decimal mark, where it is known beforehand

    def read_header(self, known: list[str] | None) -> list[str]:
        self.head = read_head(self.source)
        self._quote = self.source.reading.csv.quote
        return self.head.header

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        if not self.head.has_rows:
            return
        self.decimal_mark = self.known_mark or self._find_decimal_mark(plan.unmarked_names)
        next_row = 1
        with self._open_text() as stream, INVALID_TEXT_FILTER:
            for cells in self._open(stream, [], self._note_malformed):
                row_numbers, next_row = self._row_numbers(next_row, cells.num_rows)
                if self.head.header != self.head.own_header:
                    cells = cells.rename_columns(self.head.header)
                yield self._without_joined_lines(Block(row_numbers, cells))
        self._check_open_quote_in_malformed_rows()

    def _find_decimal_mark(self, number_names: Mapping[str, NumberFormat]) -> str:
        """Return the mark that all numbers of the file have.

        Raises:
            DataError: they have both, or the file does not show which.
        """
        if not self.may_have_decimal_comma():
            return POINT
        return self.find_marks(number_names).decide(self.source.name)

    def may_have_decimal_comma(self) -> bool:
        """Whether there is a comma that separates no cells.

        Where commas separate the cells, a number with a comma is quoted, and its comma separates
        thousands.
        """
        return self.head.separator != COMMA and self._has_comma()

    def find_marks(self, number_names: Mapping[str, NumberFormat]) -> MarksSeen:
        """Return examples of the marks of numbers in these columns."""
        marks = MarksSeen()
        names = [name for name in self.head.own_header if name in number_names]
        if not names:
            return marks
        with self._open_text() as stream:
            for cells in self._open(stream, names, lambda _: "skip"):
                for name, column in zip(names, cells.columns, strict=True):
                    marks.add(name, numbers_with_marks(column, number_names[name]))
        return marks

    @contextmanager
    def _open_text(self) -> Iterator[Any]:
        """Open the lines of the table, as UTF-8."""
        with self.source.open_stream() as stream:
            yield table_lines(stream, self.source.reading.csv)

    def _has_comma(self) -> bool:
        with self.source.open_stream() as stream:
            while chunk := stream.read(BLOCK_BYTES):
                if b"," in bytes(chunk):
                    return True
        return False

    def _open(self, stream: Any, names: list[str], on_malformed: Callable[[Any], str]) -> Any:
        """Return Arrow's reader of these columns, or of all where none is named."""
        # One thread: only then does Arrow say which row has another number of cells.
        read_options = pa.csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            skip_rows=self.head.skipped_lines,
            column_names=None if self.head.has_header else self.head.own_header,
        )
        parse_options = pa.csv.ParseOptions(
            delimiter=self.head.separator,
            quote_char=self._quote,
            newlines_in_values=True,
            invalid_row_handler=on_malformed,
        )
        as_text = dict.fromkeys(self.head.own_header, pa.string())
        convert_options = pa.csv.ConvertOptions(column_types=as_text, include_columns=names)
        return pa.csv.open_csv(stream, read_options, parse_options, convert_options)

    def _note_malformed(self, row: Any) -> str:
        reason = f"row: {row.actual_columns} cells where the header has {row.expected_columns}"
        # Arrow counts the header, and the lines before it.
        row_number = row.number - int(self.head.has_header) - self.head.skipped_lines
        self.malformed.add(row_number, row.text, reason)
        return "skip"

    def _row_numbers(self, start: int, count: int) -> tuple[np.ndarray, int]:
        """Return the next `count` row numbers that are not malformed, and the number after them."""
        skipped = {row for row in self.malformed.row_numbers if row >= start}
        if not skipped:
            return np.arange(start, start + count), start + count
        row_numbers: list[int] = []
        while len(row_numbers) < count:
            if start not in skipped:
                row_numbers.append(start)
            start += 1
        return np.array(row_numbers, dtype=np.int64), start

    def _without_joined_lines(self, block: Block) -> Block:
        """Return a block without the rows that stray quotes have joined of several.

        A cell may hold line breaks. But where each line of the row has by itself as many separators
        as the header, quotes or not, the lines may as well be rows of their own, and one of them
        would be lost: such a row is malformed. So is one with a cell that holds lines of as many
        separators as a row. A quote that is never closed swallows many rows, and Arrow says
        nothing: the file is refused.
        """
        joined = []
        separators = len(self.head.header) - 1
        for i in self._rows_with_line_breaks(block.cells):
            cells = [column[i].as_py() for column in block.cells.columns]
            lines = self.head.separator.join(cells).split("\n")
            row_number = int(block.row_numbers[i])
            are_rows = [line.count(self.head.separator) == separators for line in lines]
            has_swallowed = False
            for cell in cells:
                swallowed = self._count_swallowed_rows(row_number, cell.split("\n")[1:])
                has_swallowed = has_swallowed or swallowed > 0
            if separators and (all(are_rows) or has_swallowed):
                self.malformed.add(row_number, "\n".join(lines), JOINED_LINES.format(len(lines)))
                joined.append(i)
        if not joined:
            return block
        is_kept = np.ones(len(block.row_numbers), bool)
        is_kept[joined] = False
        return Block(block.row_numbers[is_kept], block.cells.filter(pa.array(is_kept)))

    def _rows_with_line_breaks(self, cells: pa.RecordBatch) -> list[int]:
        positions: set[int] = set()
        for column in cells.columns:
            characters = column.buffers()[2]
            if characters is None:
                continue
            if not (np.frombuffer(characters, np.uint8) == NEWLINE).any():
                continue
            has_newline = np.asarray(pc.fill_null(pc.match_substring(column, "\n"), False))
            positions.update(np.flatnonzero(has_newline).tolist())
        return sorted(positions)

    def _check_open_quote_in_malformed_rows(self) -> None:
        for row, text in zip(self.malformed.row_numbers, self.malformed.texts, strict=True):
            quote = re.escape(self._quote)
            for quoted in re.findall(f"{quote}[^{quote}]*", text):
                self._count_swallowed_rows(row, quoted.split("\n")[1:])

    def _count_swallowed_rows(self, row: int, lines: list[str]) -> int:
        """Return how many lines of a cell have the separators of a row.

        Raises:
            DataError: so many that a quote is not closed. In a table of two columns any sentence
                with a comma looks like a row.
        """
        separators_in_a_row = max(len(self.head.header) - 1, 1)
        swallowed = 0
        for line in lines:
            if line.count(self.head.separator) >= separators_in_a_row:
                swallowed += 1
        if swallowed >= SWALLOWED_ROWS and separators_in_a_row > 1:
            raise DataError(
                f"{self.source.name}: a quote is opened in row {row} and closed nowhere, or rows "
                "later: close it, or write a quote that is part of a text twice"
            )
        return swallowed
