"""Find out how the dates of a column are written, and read them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s?(Z|[-+]\d{2}:?\d{2})?)?$"
ISO_TEXT = re.compile(ISO)
ISO_FORMAT = "iso"  # among the formats of a recipe
# How texts begin that are worth a try with each format.
MAY_BE_DATE = r"^(\d{1,4}[./-]\d{1,2}[./-]\d|\d{1,2}[ -][A-Za-z]{3}|[A-Za-z]{3} \d{1,2}|\d{8}$)"
DAYS = (
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d-%b-%y",
)
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
COMPACT = "%Y%m%d"  # only of a column whose name says that it is a date
DATE_WORDS = ("date", "day", "time", "born", "birth", "timestamp", "datum")
# Formats that read the same text as other days.
SWAPPED = {"%m/%d/%Y": "%d/%m/%Y", "%m-%d-%Y": "%d-%m-%Y", "%m/%d/%y": "%d/%m/%y"}
LEAST_SHARE = 0.9  # of the rows that must be dates, 0..1
EXAMPLES = 2000  # distinct texts that are parsed one by one to choose the formats
SECONDS = 1e6  # microseconds in one


@dataclass(frozen=True)
class DateFormats:
    """How dates are written.

    Attributes:
        formats: of `strptime`; empty where all are ISO 8601.
        is_ambiguous: whether days and months may be swapped in every one of them.
        has_time: whether a time of day is stated that is not midnight.
    """

    formats: tuple[str, ...] = ()
    is_ambiguous: bool = False
    has_time: bool = False


ISO_DATES = DateFormats()


def find_date_formats(
    header_name: str, texts: pa.Array, counts: np.ndarray
) -> tuple[DateFormats, np.ndarray] | None:
    """Return the formats of a column of dates, and the dates; None where it has none.

    Args:
        header_name: of the column.
        texts: distinct cells (d,).
        counts: rows of each (d,).

    Returns:
        The formats, and seconds since 1970 in UTC, NaN where a text is no date (d,).
    """
    total = int(counts.sum())
    is_iso = np.asarray(pc.match_substring_regex(texts, ISO))
    if counts[is_iso].sum() >= LEAST_SHARE * total:
        seconds = _parse_iso(texts)
        return DateFormats((), False, _has_time(seconds)), seconds
    may_be_date = np.asarray(pc.match_substring_regex(texts, MAY_BE_DATE))
    if counts[may_be_date].sum() < LEAST_SHARE * total:
        return None
    formats = _formats_of(header_name, texts)
    if not formats:
        return None
    seconds = parse_dates(texts, formats)
    if counts[~np.isnan(seconds)].sum() < LEAST_SHARE * total:
        return None
    is_ambiguous = any(_is_ambiguous(texts, each) for each in formats)
    return DateFormats(formats, is_ambiguous, _has_time(seconds)), seconds


def _formats_of(header_name: str, texts: pa.Array) -> tuple[str, ...]:
    """Return the fewest formats that read the most texts: one, or two where one leaves some."""
    # Evenly spread, so that a change of format within the table is seen.
    step = max(1, len(texts) // EXAMPLES)
    remaining = texts.take(pa.array(np.arange(0, len(texts), step))).to_pylist()
    candidates = [day + time for day in DAYS for time in TIMES]
    if any(word in header_name.lower() for word in DATE_WORDS):
        candidates.append(COMPACT)
    chosen: list[str] = []
    while remaining and len(chosen) < 2:
        best, best_count = "", 0
        for candidate in [ISO_FORMAT, *candidates]:
            count = sum(1 for text in remaining if _parse(text, candidate) is not None)
            if count > best_count:
                best, best_count = candidate, count
        if best_count < max(1, len(remaining) // 10):
            break
        chosen.append(best)
        remaining = [text for text in remaining if _parse(text, best) is None]
    return tuple(chosen)


def parse_dates(texts: pa.Array, formats: tuple[str, ...]) -> np.ndarray:
    """Return seconds since 1970 in UTC, NaN where a text is no date under any format (d,)."""
    if not formats:
        return _parse_iso(texts)
    seconds = np.full(len(texts), np.nan)
    for position, text in enumerate(texts.to_pylist()):
        for each in formats:
            moment = _parse(text, each)
            if moment is not None:
                seconds[position] = _seconds(moment)
                break
    return seconds


def _parse(text: str, date_format: str) -> datetime | None:
    # Python, and not Arrow, refuses 31 February.
    try:
        if date_format == ISO_FORMAT:
            return datetime.fromisoformat(text) if ISO_TEXT.match(text) else None
        return datetime.strptime(text, date_format)
    except ValueError:
        return None


def _parse_iso(texts: pa.Array) -> np.ndarray:
    for arrow_type in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            microseconds = texts.cast(arrow_type).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
        seconds: np.ndarray = microseconds.to_numpy(zero_copy_only=False) / SECONDS
        return seconds
    parsed = np.full(len(texts), np.nan)
    for position, text in enumerate(texts.to_pylist()):
        moment = _parse(text, ISO_FORMAT)
        if moment is not None:
            parsed[position] = _seconds(moment)
    return parsed


def _seconds(moment: datetime) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp()


def _has_time(seconds: np.ndarray) -> bool:
    present = seconds[~np.isnan(seconds)]
    return bool(np.any(present % 86_400))


def _is_ambiguous(texts: pa.Array, date_format: str) -> bool:
    """Whether each text is a date too where day and month are swapped."""
    for month_first, day_first in SWAPPED.items():
        swapped = {month_first: day_first, day_first: month_first}
        for own, other in swapped.items():
            if date_format.startswith(own):
                alternative = date_format.replace(own, other)
                step = max(1, len(texts) // EXAMPLES)
                examples = texts.take(pa.array(np.arange(0, len(texts), step))).to_pylist()
                return all(_parse(text, alternative) for text in examples if _parse(text, own))
    return False
