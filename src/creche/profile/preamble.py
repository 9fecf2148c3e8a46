"""Lines before the table in a CSV file: comments, and titles above the header."""

import re
from collections import Counter
from dataclasses import replace

from creche.contract.reading import CsvDialect
from creche.data.readers.csv_head import SEPARATORS
from creche.data.table_source import TableSource
from creche.errors import DataError

EXAMINED_BYTES = 1 << 16
EXAMINED_LINES = 60
MAX_PREAMBLE = 20  # lines
COMMENT_MARKS = ("#", "%", "//")
SEPARATOR_NOTE = re.compile('"?sep=', re.IGNORECASE)  # which the reader passes over by itself
LEAST_AGREEING = 0.8  # of the lines, that have as many separators as the header, 0..1


def dialect_of(source: TableSource) -> CsvDialect:
    """Return the dialect of a CSV file, with the lines before the table that are to be left out.

    Raises:
        DataError: the file cannot be read.
    """
    dialect = source.reading.csv
    lines = _first_lines(source)
    mark = _comment_mark(lines)
    if mark is not None:
        return replace(dialect, comment=mark)
    skipped = _titles(lines)
    return replace(dialect, skip_lines=skipped) if skipped else dialect


def _first_lines(source: TableSource) -> list[str]:
    try:
        with source.open_stream() as stream:
            start = bytes(stream.read(EXAMINED_BYTES))
    except OSError as error:
        raise DataError(f"{source.name} cannot be read: {error}") from None
    lines = start.decode("utf-8-sig", "replace").splitlines()
    # The last line may be cut.
    return lines[: min(EXAMINED_LINES, max(len(lines) - 1, 1))]


def _comment_mark(lines: list[str]) -> str | None:
    """Return what comment lines at the beginning start with; None where there are none.

    A header that begins with the mark has as many separators as the row below it, and is none.
    """
    for mark in COMMENT_MARKS:
        count = 0
        while count < len(lines) and lines[count].lstrip().startswith(mark):
            count += 1
        if not 0 < count < len(lines):
            continue
        last_comment, first_row = lines[count - 1], lines[count]
        is_header = any(
            0 < first_row.count(separator) == last_comment.count(separator)
            for separator in SEPARATORS
        )
        return None if is_header else mark
    return None


def _titles(lines: list[str]) -> int:
    """Return the lines above the header that have none of its separators."""
    if not lines or SEPARATOR_NOTE.match(lines[0]) or '"' in "".join(lines[:MAX_PREAMBLE]):
        return 0
    for separator in SEPARATORS:
        counts = [line.count(separator) for line in lines if line.strip()]
        usual, agreeing = Counter(counts).most_common(1)[0] if counts else (0, 0)
        if usual == 0 or agreeing < LEAST_AGREEING * (len(counts) - MAX_PREAMBLE):
            continue
        for position, line in enumerate(lines[: MAX_PREAMBLE + 1]):
            if line.count(separator) == usual:
                above = [other for other in lines[:position] if other.strip()]
                has_titles = bool(above) and not any(separator in other for other in above)
                is_usual = agreeing >= LEAST_AGREEING * (len(counts) - len(above))
                return position if has_titles and is_usual else 0
    return 0
