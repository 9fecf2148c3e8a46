"""Readers: one for each format, from a file to blocks of rows as they came."""

from creche.data.readers.arrow import ArrowReader
from creche.data.readers.base import Block, BlockPlan, FileReader, MalformedRows
from creche.data.readers.cifar import CifarReader
from creche.data.readers.csv import CsvReader
from creche.data.readers.delta import DeltaReader
from creche.data.readers.errors import refused_header
from creche.data.readers.files import FilesReader
from creche.data.readers.images import ImageFilesReader
from creche.data.readers.json import JsonReader
from creche.data.readers.memory import MemoryReader
from creche.data.readers.orc import OrcReader
from creche.data.readers.parquet import ParquetReader
from creche.data.readers.workbook import WorkbookReader
from creche.data.table_source import TableSource

READERS: dict[str, type[FileReader]] = {
    "arrow": ArrowReader,
    "cifar": CifarReader,
    "csv": CsvReader,
    "delta": DeltaReader,
    "images": ImageFilesReader,
    "json": JsonReader,
    "memory": MemoryReader,
    "orc": OrcReader,
    "parquet": ParquetReader,
    "tables": FilesReader,
    "workbook": WorkbookReader,
}

__all__ = [
    "READERS",
    "Block",
    "BlockPlan",
    "FileReader",
    "MalformedRows",
    "open_reader",
    "reader_for",
]


def reader_for(source: TableSource, header: list[str] | None = None) -> FileReader:
    """Return the reader of a source's format.

    Args:
        header: the names that an earlier reader of the same file read, so that it is not read
            again.
    """
    return READERS[source.format](source, header)


def open_reader(source: TableSource, header: list[str] | None = None) -> FileReader:
    """Return the reader of a source's format, as `reader_for` does.

    Raises:
        DataError: it cannot be read; names the file.
    """
    with refused_header(source, READERS[source.format].format_name):
        return reader_for(source, header)
