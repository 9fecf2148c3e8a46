"""The beginning of a CSV file: the names of its columns, and its separator."""

import csv
import io
import re
from dataclasses import dataclass
from typing import Any

from creche.contract.cells import is_utf8, normalize_name
from creche.contract.reading import CsvDialect, Reading
from creche.data.readers.base import NOT_UTF8
from creche.data.readers.csv_lines import table_lines
from creche.data.table_source import TableSource
from creche.errors import DataError

HEADER_BYTES = 4 << 20
SEPARATORS = ",;\t|"
COUNTED_LINES = 20  # whose separators are counted, the header included
# Excel's note on the separator; programs that save the file again fill the line with it.
SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\1*\r?(?:\n|\Z)', re.IGNORECASE)


@dataclass(frozen=True)
class CsvHead:
    """What the beginning of a CSV file shows.

    Attributes:
        header: the names of the columns; one without a name is called by its position.
        own_header: the names as they are in the file, or as the recipe states them.
        has_header: whether a line of the file names the columns.
        skipped_lines: lines before the header, the header included where its names are not used.
    """

    header: list[str]
    own_header: list[str]
    has_header: bool
    separator: str
    skipped_lines: int
    has_rows: bool


def read_head(source: TableSource) -> CsvHead:
    """Read the header of a CSV file and detect its separator.

    Raises:
        DataError: the file is not UTF-8, its first line is no header, or it has another number of
            cells than the recipe states names.
    """
    dialect = source.reading.csv
    with source.open_stream() as stream:
        start = bytes(table_lines(stream, dialect).read(HEADER_BYTES) or b"")
    text = start.decode("utf-8-sig", "surrogateescape")
    lines = text.lstrip("\r\n")
    separator_line = SEPARATOR_LINE.match(lines)
    skipped_lines = 0
    separator = dialect.separator
    if separator_line is not None:
        separator = separator or separator_line[1]
        lines = lines[separator_line.end() :].lstrip("\r\n")
        skipped_lines = max(text.removesuffix(lines).count("\n"), 1)
    separator = separator or _separator_of(lines, dialect)
    rows = csv.reader(io.StringIO(lines, newline=""), delimiter=separator, quotechar=dialect.quote)
    first_row = _first_row(rows, source)
    if not all(is_utf8(cell) for cell in first_row):
        raise DataError(f"{source.name}: {NOT_UTF8}")
    if _is_header(first_row, source.reading):
        has_rows = _has_more(rows, source)
        return CsvHead(named(first_row), first_row, True, separator, skipped_lines, has_rows)
    names = _names_by_position(first_row, source)
    if dialect.header == "none":
        return CsvHead(names, names, False, separator, skipped_lines, bool(first_row))
    # Arrow must not read the header whose names others take the place of.
    header_lines = text.removesuffix(lines).count("\n") + rows.line_num
    return CsvHead(names, names, False, separator, header_lines, _has_more(rows, source))


def _is_header(first_row: list[str], reading: Reading) -> bool:
    """Whether the first row of a file names its columns.

    Where the recipe states the names, a row that has them all, in any order, is a header that
    counts, even where its files are said to have none. The label may be missing there, in a file to
    score.
    """
    if not reading.csv.names:
        return reading.csv.header == "first-line"
    cells = {normalize_name(cell) for cell in first_row}
    required = {normalize_name(name) for name in reading.csv.names}
    required.discard(normalize_name(reading.label or ""))
    return bool(required) and required <= cells


def _names_by_position(first_row: list[str], source: TableSource) -> list[str]:
    """Return the stated names of the columns in their order, or numbered ones.

    Raises:
        DataError: the recipe states names of more or fewer columns than there are.
    """
    names = list(source.reading.csv.names)
    if not names:
        return [f"column_{position}" for position in range(1, len(first_row) + 1)]
    without_label = [name for name in names if name != source.reading.label]
    if len(first_row) == len(without_label):
        return without_label
    if first_row and len(first_row) != len(names):
        raise DataError(
            f"{source.name}: its first row has {len(first_row)} cells, and data.csv.names of the "
            f"recipe states {len(names)} columns: state each column there, in order"
        )
    return names


def _separator_of(text: str, dialect: CsvDialect) -> str:
    """Return the separator that the first line has most often.

    Of several, it is the one that the lines after it have as often. Where the recipe states the
    names of the columns, it is one that separates so many cells.
    """
    # Separators within quotes do not count.
    quote = re.escape(dialect.quote)
    unquoted = re.sub(f"{quote}[^{quote}]*{quote}", "", text)
    first_lines = unquoted.split("\n", COUNTED_LINES)[:COUNTED_LINES]
    header = first_lines[0]
    for separator in SEPARATORS:
        if len(dialect.names) > 1 and header.count(separator) == len(dialect.names) - 1:
            return separator
    rows = [line for line in first_lines[1:] if line.strip()]
    most = max(header.count(separator) for separator in SEPARATORS)
    candidates = [separator for separator in SEPARATORS if header.count(separator) == most]
    # A header without a separator is one column, and what its cells hold does not count.
    if most > 0 and rows:
        for separator in candidates:
            if all(row.count(separator) == most for row in rows):
                return separator
    return candidates[0]


def named(own_header: list[str]) -> list[str]:
    """Return a header in which each column has a name, also those of trailing separators."""
    taken = set(own_header)
    header = []
    for position, own_name in enumerate(own_header, 1):
        name = own_name
        if not own_name.strip():
            name = f"column_{position}"
            while name in taken:
                name += "_"
            taken.add(name)
        header.append(name)
    return header


def _first_row(rows: Any, source: TableSource) -> list[str]:
    try:
        header: list[str] = next(rows, [])
    except csv.Error as error:
        if "field larger" in str(error):
            message = f"{source.name}: its first line is longer than a header can be"
            raise DataError(message) from None
        raise DataError(f"{source.name}: {error}") from None
    return header


def _has_more(rows: Any, source: TableSource) -> bool:
    try:
        return any(rows)
    except csv.Error as error:
        if "field larger" in str(error):
            return True
        raise DataError(f"{source.name}: {error}") from None
