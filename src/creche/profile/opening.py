"""Find the files of a table, and how they are written where they do not tell themselves."""

from dataclasses import replace
from pathlib import Path

from creche.contract import Contract
from creche.contract.reading import CsvDialect, Reading
from creche.data.readers.base import NOT_UTF8
from creche.data.readers.csv_head import read_head
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.data.training_source import training_source
from creche.errors import DataError
from creche.profile.headers import is_row, positional_names
from creche.profile.preamble import dialect_of
from creche.profile.table_sample import TableSample, as_table, read_sample

SHEET_IN_RECIPE = "as data.sheet in the recipe"
ENCODINGS = ("cp1252", "latin-1")  # of text that is not UTF-8; the second one reads any bytes


Opened = tuple[TableSample, TableSource, Reading]


def open_table(path: Path, name: str, sheet: str | None = None) -> Opened:
    """Return a sample of a table, its source, and how it is read.

    Args:
        path: of a file, or of a folder of files with the same columns.
        name: of the table in messages.
        sheet: of a workbook that has several.

    Raises:
        DataError: it is no table, or one that cannot be read.
    """
    try:
        return _read(path, name, Reading(sheet=sheet))
    except DataError as error:
        if SHEET_IN_RECIPE in str(error):
            raise DataError(str(error).replace(SHEET_IN_RECIPE, "with --sheet")) from None
        if NOT_UTF8 not in str(error):
            raise
        failure = error
    for encoding in ENCODINGS:
        try:
            return _read(path, name, Reading(csv=CsvDialect(encoding=encoding)))
        except DataError as error:
            failure = error
    raise failure


def _read(path: Path, name: str, reading: Reading) -> Opened:
    source = training_source(path, name, reading)
    first_file = source.parts[0] if source.parts else source
    if first_file.format == "csv" and first_file.size():
        dialect = dialect_of(first_file)
        reading = replace(reading, csv=dialect)
        names = _names_without_header(replace(first_file, reading=reading))
        if names:
            reading = replace(reading, csv=replace(dialect, header="none", names=names))
        source = training_source(path, name, reading)
    return read_sample(source), source, reading


def _names_without_header(source: TableSource) -> tuple[str, ...]:
    """Return names by position, where the first line of a CSV file is a row; else none."""
    head = read_head(source)
    names = positional_names(len(head.own_header))
    dialect = replace(source.reading.csv, header="none", names=names)
    without_header = replace(source, reading=replace(source.reading, csv=dialect))
    reader = TableReader(without_header, Contract({}))
    for block in reader.blocks():
        table = as_table(block.cells)
        first_row = [column[0].as_py() or "" for column in table.columns]
        return names if is_row(first_row, table.slice(1)) else ()
    return ()
