"""Parse one cell that holds a date or a time.

A value is a moment in UTC, in microseconds. Which cells are one, docs/concepts/rows.md states.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING

from creche.contract.cells import MISSING_VALUES, parse_text

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MIN_SECONDS = -62_135_596_800.0  # since 1970: the first of the year 1
MAX_SECONDS = 253_402_300_799.999999  # since 1970: the last of the year 9999
ISO = "iso"
ISO_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?: ?([Zz]|[-+]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)
NOT_A_TIME = "nat"  # what pandas calls a missing one

NOT_ISO = (
    "not a date in the ISO form, as 2020-01-31 or 2020-01-31 14:30: state `formats` of the column "
    'in the recipe, as ["%d.%m.%Y"]'
)
NO_SUCH_DATE = "a date or time that does not exist"
YEAR_OUT_OF_RANGE = "a year before 1 or after 9999"


@dataclass(frozen=True)
class DateFormat:
    """How the dates of a column are written.

    Attributes:
        formats: as strptime has them; `iso` is the ISO form. None of them: the ISO form.
        time_zone: of a date that states none; None: UTC.
    """

    formats: tuple[str, ...] = ()
    time_zone: str | None = None

    @property
    def not_a_date(self) -> str:
        """The reason for a text of another format."""
        if not self.formats:
            return NOT_ISO
        return f"not a date in the format {' or '.join(self.formats)}"


def parse_date(
    cell: object, missing: frozenset[str] = MISSING_VALUES, date_format: DateFormat = DateFormat()
) -> datetime | None:
    """Return the moment in a cell, in UTC, None where the value is missing.

    Args:
        missing: spellings of a missing value, in lower case.
        date_format: of a text, and of a date or time without a zone.

    Raises:
        ValueError: the cell is no date, or one that does not exist; the message is the reason.
    """
    if isinstance(cell, datetime):
        return in_utc(cell, date_format.time_zone)
    if isinstance(cell, date):
        return in_utc(datetime.combine(cell, time()), date_format.time_zone)
    text = parse_text(cell, missing)
    if text is None or is_not_a_time(text, missing):
        return None
    return parse_date_text(text, date_format)


def is_not_a_time(text: str, missing: frozenset[str]) -> bool:
    """Whether a text is pandas' missing time, where the column states no other spellings."""
    return missing is MISSING_VALUES and text.lower() == NOT_A_TIME


def parse_date_text(text: str, date_format: DateFormat) -> datetime:
    """Return the moment that a text states, in UTC.

    Raises:
        ValueError: the text has another format, no such moment exists, or two formats read two
            moments.
    """
    moments: dict[datetime, str] = {}  # moment → the format that reads it
    impossible: ValueError | None = None
    for form in date_format.formats or (ISO,):
        try:
            moment = _parse_iso(text) if form == ISO else _parse_declared(text, form)
            if moment is not None:
                moments.setdefault(in_utc(moment, date_format.time_zone), form)
        except ValueError as error:
            impossible = error
    if len(moments) > 1:
        raise ValueError(f"{' and '.join(moments.values())} read different dates")
    for moment in moments:
        return moment
    if impossible is not None:
        raise impossible
    # Predictions have moments in the ISO form with its zone, whatever the formats of the input.
    moment = _parse_iso(text) if text.endswith(("Z", "z")) else None
    if moment is None:
        raise ValueError(date_format.not_a_date)
    return in_utc(moment, date_format.time_zone)


def _parse_iso(text: str) -> datetime | None:
    """Return the moment of a text in the ISO form, None where it has another one.

    Raises:
        ValueError: there is no such date or time.
    """
    parts = ISO_FORM.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in parts.groups()[:6])
    if year == 0:
        raise ValueError(YEAR_OUT_OF_RANGE)
    # What is finer than a microsecond is cut off.
    microsecond = int((parts[7] or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, second, microsecond)
        return moment.replace(tzinfo=_zone_of_offset(parts[8]))
    except ValueError:
        raise ValueError(NO_SUCH_DATE) from None


def _zone_of_offset(offset: str | None) -> timezone | None:
    if offset is None:
        return None
    if offset in ("Z", "z"):
        return UTC
    digits = offset[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[2:])
    if minutes > 59:
        raise ValueError(NO_SUCH_DATE)
    difference = timedelta(hours=int(digits[:2]), minutes=minutes)
    return timezone(-difference if offset[0] == "-" else difference)


def _parse_declared(text: str, form: str) -> datetime | None:
    """Return the moment of a text in a format of strptime, None where it has another one.

    Raises:
        ValueError: there is no such date or time.
    """
    try:
        return datetime.strptime(text, form)
    except ValueError as error:
        message = str(error)
    if "does not match format" in message or "unconverted data remains" in message:
        return None
    raise ValueError(YEAR_OUT_OF_RANGE if message.startswith("year") else NO_SUCH_DATE)


def in_utc(moment: datetime, time_zone: str | None) -> datetime:
    """Return a moment in UTC.

    Args:
        moment: with or without a zone.
        time_zone: of one without; None: UTC. Of a time that clocks show twice, it is the first.

    Raises:
        ValueError: clocks of the zone do not show such a time, or it lies in another year than 1 to
            9999.
    """
    if moment.tzinfo is None and time_zone is None:
        return moment.replace(tzinfo=UTC)
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        zone = zone_info(str(time_zone))
        utc = moment.replace(tzinfo=zone).astimezone(UTC)
        is_shown = utc.astimezone(zone).replace(tzinfo=None) == moment
    except OverflowError:
        raise ValueError(YEAR_OUT_OF_RANGE) from None
    if not is_shown:
        raise ValueError(f"a time that does not exist in {time_zone}")
    return utc


@cache
def zone_info(name: str) -> "ZoneInfo":
    """Return a time zone.

    Raises:
        ValueError: there is no zone of that name here.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"'{name}' is no time zone") from None


def microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970 of a moment with a zone."""
    return (moment - EPOCH) // MICROSECOND
