"""The lines of a text file that are the table, without those that the dialect leaves out."""

import io
from typing import Any

from creche.contract.reading import CsvDialect

CHUNK_BYTES = 1 << 20
UTF8_MARK = b"\xef\xbb\xbf"


def table_lines(stream: Any, dialect: CsvDialect) -> Any:
    """Return a stream of UTF-8 without the lines before the table, and without comments."""
    if not dialect.skip_lines and dialect.comment is None:
        return stream
    return LineFilter(stream, dialect)


class LineFilter(io.RawIOBase):
    """Passes on whole lines; a line within a quoted cell is no comment."""

    def __init__(self, stream: Any, dialect: CsvDialect) -> None:
        self._stream = stream
        self._to_skip = dialect.skip_lines
        self._comment = None if dialect.comment is None else dialect.comment.encode()
        self._quote = dialect.quote.encode()
        self._rest = b""  # the beginning of a line whose end is still to be read
        self._passed = b""  # lines that are still to be handed out
        self._is_at_start = True
        self._is_at_end = False
        self._is_quoted = False  # whether a quote is open at the end of the last line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._passed and not self._is_at_end:
            self._passed = self._next_lines()
        size = min(len(buffer), len(self._passed))
        buffer[:size] = self._passed[:size]
        self._passed = self._passed[size:]
        return size

    def _next_lines(self) -> bytes:
        chunk = bytes(self._stream.read(CHUNK_BYTES))
        if self._is_at_start:
            chunk = chunk.removeprefix(UTF8_MARK)
            self._is_at_start = False
        if not chunk:
            self._is_at_end = True
        lines = (self._rest + chunk).splitlines(keepends=True) if chunk else [self._rest]
        # A carriage return at the end of a chunk may be the first half of a line's end.
        is_whole = not chunk or (bool(lines) and lines[-1].endswith(b"\n"))
        self._rest = b"" if is_whole else lines.pop()
        if self._comment is None and not self._to_skip:
            return b"".join(lines)
        return b"".join(line for line in lines if self._is_passed_on(line))

    def _is_passed_on(self, line: bytes) -> bool:
        if self._to_skip:
            self._to_skip -= 1
            return False
        if self._comment is None:
            return True
        if not self._is_quoted and line.lstrip().startswith(self._comment):
            return False
        if line.count(self._quote) % 2:
            self._is_quoted = not self._is_quoted
        return True
