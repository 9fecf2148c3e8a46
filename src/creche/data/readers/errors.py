"""What libraries raise while a file is read, as errors that name the file and the way out."""

from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError

import pyarrow as pa

from creche.data.readers.base import NOT_UTF8
from creche.data.readers.csv import BLOCK_BYTES
from creche.data.table_source import TableSource
from creche.errors import DataError


@contextmanager
def refused_header(source: TableSource, format_name: str) -> Iterator[None]:
    """Raise what goes wrong with the beginning of a file as a DataError.

    Args:
        format_name: of the file, for messages.
    """
    try:
        yield
    except StopIteration:
        raise DataError(f"{source.name} holds no rows") from None
    except UnicodeError:
        raise DataError(f"{source.name}: {_undecodable(source)}") from None
    except (pa.ArrowInvalid, OSError, EOFError, LZMAError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{source.name} is not a whole {format_name} file: {first_line}") from None


@contextmanager
def refused_rows(source: TableSource) -> Iterator[None]:
    """Raise what goes wrong while the rows of a file are read as a DataError."""
    try:
        yield
    except UnicodeError:
        raise DataError(f"{source.name}: {_undecodable(source)}") from None
    except pa.ArrowInvalid as error:
        raise DataError(f"{source.name}: {_explain(error)}") from None
    except (OSError, EOFError, LZMAError) as error:
        if "CRC" in str(error):
            raise DataError(
                f"{source.name} is damaged, since its bytes do not have their checksum: copy or "
                "write it again"
            ) from None
        raise DataError(f"{source.name} cannot be read to its end: {error}") from None


def _undecodable(source: TableSource) -> str:
    encoding = source.file_format.encoding
    if encoding == "utf-8":
        return NOT_UTF8
    if encoding == source.reading.csv.text_encoding:
        return f"not {encoding} text, as csv.encoding under data in the recipe states: correct it"
    # Its byte order mark says that it is.
    return f"not {encoding.upper()} text to its end: it is cut short or damaged"


def _explain(error: pa.ArrowInvalid) -> str:
    message = str(error)
    # Of a row of another length Arrow shows the text, and cannot where that is no UTF-8.
    if "UTF8" in message or "CSV parse error" in message:
        return NOT_UTF8
    if "straddling" in message or "block size" in message:
        return f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quote is never closed"
    return message.splitlines()[0]
