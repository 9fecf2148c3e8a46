"""Recognize the format of a file by its content; its name decides where the content does not."""

import lzma
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from creche.data.file_signatures import (
    BYTE_ORDER_MARKS,
    BZ2_BLOCKS,
    COMPRESSION_SIGNATURES,
    CONVERT,
    IMAGE_SIGNATURES,
    TABLE_SIGNATURES,
    TEXT_SIGNATURES,
    UNPACK,
    UNREADABLE_SIGNATURES,
)
from creche.errors import DataError

# Format by suffix, for the files whose content alone does not tell.
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".orc": "orc",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".xlsx": "workbook",
    ".xlsm": "workbook",
    ".xlsb": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
}
COMPRESSION_SUFFIXES = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".lz4", ".xz")
TEXT_FORMATS = ("csv", "json")
START_BYTES = 4096  # of a file, by which its format is recognized

MARKUP = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
JSON_START = re.compile(rb'\s*(\[\s*)?\{\s*("|\}|\Z)|\s*\[\s*(\[|\]|\Z)')
CONTROL_CHARACTERS = bytes({*range(9), *range(14, 27), *range(28, 32), 127})
MAX_CONTROL_SHARE = 0.05  # of the characters of a text, 0..1
MAX_CONTROL_COUNT = 2  # of a text that is so short that the share says little


@dataclass(frozen=True)
class FileFormat:
    """How the bytes of a file become a table."""

    name: str  # csv, json, parquet, arrow, orc, workbook, or image
    compression: str | None = None  # of the file as a whole: gzip, bz2, zstd, lz4 or xz
    encoding: str = "utf-8"  # of text: utf-8, utf-16 or utf-32


CSV = FileFormat("csv")


class FormatError(Exception):
    """The content of a file is of a kind that cannot be read.

    Attributes:
        kind: what it is, with its article.
        remedy: what to do with it.
    """

    def __init__(self, kind: str, remedy: str) -> None:
        super().__init__(f"{kind}: {remedy}")
        self.kind = kind
        self.remedy = remedy


def recognize(system: Any, path: str, name: str, encoding: str | None = None) -> FileFormat:
    """Return the format of a file.

    Args:
        system: a pyarrow FileSystem.
        path: on the system.
        name: of the file in messages.
        encoding: of CSV without a byte order mark; None: UTF-8.

    Raises:
        FormatError: it is of a kind that cannot be read.
        DataError: its bytes cannot be read.
    """
    suffix_format = format_by_suffix(path)
    try:
        start = read_start(system, path)
        compression = compression_by_signature(start)
        if compression is None:
            return recognize_content(start, suffix_format, encoding)
        with open_decompressed(system, path, compression) as stream:
            content = bytes(stream.read(START_BYTES))
        return _compressed_format(content, suffix_format, compression, encoding)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{name} cannot be read: {error}") from None


def compression_by_signature(start: bytes) -> str | None:
    """Return how content that begins like this is compressed; None where it is not."""
    for signature, compression in COMPRESSION_SIGNATURES:
        if start.startswith(signature):
            return compression
    is_bz2 = start.startswith(b"BZh") and start[4:10] in BZ2_BLOCKS
    return "bz2" if is_bz2 else None


def read_start(system: Any, path: str) -> bytes:
    """Return the first bytes of a file."""
    handler = getattr(system, "handler", None)
    if isinstance(handler, pa.fs.FSSpecHandler):
        # A stream would read ahead by megabytes.
        return bytes(handler.fs.cat_file(path, start=0, end=START_BYTES))
    with system.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read(START_BYTES))


@contextmanager
def open_decompressed(system: Any, path: str, compression: str | None) -> Iterator[Any]:
    """Open the decompressed bytes of a file in order."""
    if compression != "xz":
        with system.open_input_stream(path, compression=compression) as stream:
            yield stream
        return
    # Arrow does not decompress xz.
    with (
        system.open_input_stream(path, compression=None) as compressed,
        lzma.open(compressed) as stream,
    ):
        yield stream


def _compressed_format(
    content: bytes, suffix_format: str | None, compression: str, encoding: str | None
) -> FileFormat:
    if compression_by_signature(content) is not None:
        raise FormatError("compressed twice", "decompress it")
    inner = recognize_content(content, suffix_format, encoding)
    if inner.name not in TEXT_FORMATS:
        # These formats are read from their end.
        raise FormatError(f"{inner.name} compressed with {compression} as a whole", "decompress it")
    return FileFormat(inner.name, compression, inner.encoding)


def recognize_content(
    start: bytes, suffix_format: str | None = None, encoding: str | None = None
) -> FileFormat:
    """Return the format of content that begins like this.

    Args:
        start: of the content, decompressed.
        suffix_format: the one that the file's name promises; None: it promises none.
        encoding: of CSV without a byte order mark; None: UTF-8.

    Raises:
        FormatError: the content is of a kind that cannot be read.
    """
    signature_format = format_by_signature(start)
    if signature_format is not None:
        return FileFormat(signature_format)
    for mark, marked_encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            text = start.decode(marked_encoding, "ignore").encode()
            return FileFormat(_text_format(text, suffix_format), encoding=marked_encoding)
    if suffix_format is not None and suffix_format not in TEXT_FORMATS:
        # Its reader says what is wrong with it.
        return FileFormat(suffix_format)
    if encoding is not None:
        # Content that is not text in this encoding is binary data after all.
        text = start.decode(encoding, "ignore").encode()
        _check_text(text, suffix_format)
        if _text_format(text, suffix_format) == "csv":
            return FileFormat("csv", encoding=encoding)
    if MARKUP.match(start):
        raise FormatError("an HTML or XML page", "name the file of the data itself")
    _check_text(start, suffix_format)
    return FileFormat(_text_format(start, suffix_format))


def format_by_signature(start: bytes) -> str | None:
    """Return the format whose signature the content has; None where it has none.

    Raises:
        FormatError: it has the signature of a format that cannot be read.
    """
    for signature, name in TABLE_SIGNATURES:
        if _has_signature(start, signature):
            return name
    is_image = any(_has_signature(start, signature) for signature in IMAGE_SIGNATURES)
    if is_image or _is_webp(start) or _is_bitmap(start):
        return "image"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _check_is_workbook(start)
        return "workbook"
    for signature, kind, remedy in TEXT_SIGNATURES:
        if start.startswith(signature):
            raise FormatError(kind, remedy)
    for offset, signature, kind, remedy in UNREADABLE_SIGNATURES:
        if _has_signature(start, signature, offset):
            raise FormatError(kind, remedy)
    return None


def _has_signature(start: bytes, signature: bytes, offset: int = 0) -> bool:
    """Whether content has a signature; one that is printable text needs content that is not."""
    if not start.startswith(signature, offset):
        return False
    is_text = signature.isascii() and not _control_characters(signature)
    return not is_text or _control_characters(start) > 0


def _is_webp(start: bytes) -> bool:
    return _has_signature(start, b"RIFF") and start[8:12] == b"WEBP"


def _is_bitmap(start: bytes) -> bool:
    # A header of CSV may begin with BM too, but its reserved bytes are not zero.
    return start.startswith(b"BM") and start[6:10] == b"\0\0\0\0"


def _check_is_workbook(start: bytes) -> None:
    """Check that a ZIP archive holds a workbook.

    Raises:
        FormatError: it holds something else.
    """
    if b"word/" in start or b"ppt/" in start or b"opendocument.text" in start:
        raise FormatError("a document of an Office program", CONVERT)
    is_office_file = b"[Content_Types].xml" in start or b"xl/" in start
    if not is_office_file and b"opendocument.spreadsheet" not in start:
        raise FormatError("a ZIP archive", UNPACK)


def _check_text(start: bytes, suffix_format: str | None) -> None:
    max_control_count = max(MAX_CONTROL_COUNT, MAX_CONTROL_SHARE * len(start))
    is_mostly_text = _control_characters(start) <= max_control_count
    if is_mostly_text and (suffix_format or not start.count(0)):
        return
    if start.count(0) > len(start) / 3:
        raise FormatError(
            "binary data, or UTF-16 text without a byte order mark",
            "save it as UTF-8 (`iconv -f UTF-16LE -t UTF-8`)",
        )
    raise FormatError("binary data of no known format", CONVERT)


def _control_characters(start: bytes) -> int:
    return len(start) - len(start.translate(None, CONTROL_CHARACTERS))


def _text_format(start: bytes, suffix_format: str | None) -> str:
    text = start.removeprefix(b"\xef\xbb\xbf")
    if text.strip() and JSON_START.match(text):
        return "json"
    return suffix_format if suffix_format in TEXT_FORMATS else "csv"


def format_by_suffix(path: str) -> str | None:
    """Return the format that a file's name promises; None where it promises none."""
    suffixes = known_suffixes(path)
    return FORMATS.get(suffixes[0].lower()) if suffixes else None


def known_suffixes(path: str) -> list[str]:
    """Return the suffixes of a file's name that state format and compression, as they are there."""
    suffixes = PurePosixPath(path).suffixes
    known: list[str] = []
    if suffixes and suffixes[-1].lower() in COMPRESSION_SUFFIXES:
        known.insert(0, suffixes.pop())
    if suffixes and suffixes[-1].lower() in FORMATS:
        known.insert(0, suffixes.pop())
    return known
