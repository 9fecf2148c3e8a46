"""Find the files of a table, and how they are written where they do not tell themselves."""

from collections.abc import Sequence
from dataclasses import replace

from creche.contract import Contract
from creche.contract.reading import CsvDialect, Reading
from creche.data.readers.base import NOT_UTF8
from creche.data.readers.csv_head import read_head
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError
from creche.profile.headers import is_row, positional_names
from creche.profile.table_sample import TableSample, as_table, read_sample

ENCODINGS = ("cp1252", "latin-1")  # of text that is not UTF-8; the second one reads any bytes


Opened = tuple[TableSample, Sequence[TableSource], Reading]


def open_table(argument: str) -> Opened:
    """Return a sample of the table that an argument names, its files, and how they are read.

    Args:
        argument: a file, a folder or a glob of files of the same columns.

    Raises:
        DataError: it names no table, or one that cannot be read.
    """
    reading = Reading()
    try:
        return _read(argument, reading)
    except DataError as error:
        if NOT_UTF8 not in str(error):
            raise
        failure = error
    for encoding in ENCODINGS:
        try:
            return _read(argument, Reading(csv=CsvDialect(encoding=encoding)))
        except DataError as error:
            failure = error
    raise failure


def _read(argument: str, reading: Reading) -> Opened:
    sources = _sources(argument, reading)
    if sources[0].format == "csv":
        names = _names_without_header(sources[0])
        if names:
            dialect = replace(reading.csv, header="none", names=names)
            reading = replace(reading, csv=dialect)
            sources = _sources(argument, reading)
    return read_sample(sources, argument), sources, reading


def _sources(argument: str, reading: Reading) -> Sequence[TableSource]:
    sources = find_sources([argument], reading)
    if not sources:
        raise DataError(f"{argument} holds no table: name a file, or a folder of some")
    return sources


def _names_without_header(source: TableSource) -> tuple[str, ...]:
    """Return names by position, where the first line of a CSV file is a row; else none."""
    if source.size() == 0:
        return ()
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
