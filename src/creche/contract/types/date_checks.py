"""Checks of what a recipe states of a column of dates."""

import re
from datetime import datetime
from functools import cache

from creche.contract.column import Column
from creche.contract.dates import ISO, DateFormat, parse_date_text

EXAMPLE = datetime(2001, 12, 31, 13, 14, 15)
LENGTH_OF_DATE = 10  # characters of 2020-01-31
END_OF_DAY = "23:59:59.999999"


@cache
def bound_of(text: str, time_zone: str | None, is_last: bool) -> datetime:
    """Return a limit in UTC; the last date that is allowed is so to its end."""
    is_whole_day = is_last and len(text) == LENGTH_OF_DATE
    written = f"{text} {END_OF_DAY}" if is_whole_day else text
    return parse_date_text(written, DateFormat(time_zone=time_zone))


def check_format(key: str, form: str) -> None:
    """Check that a format reads what it writes, with a year at least.

    Raises:
        ValueError: it does not.
    """
    if form == ISO:
        return
    try:
        moment = datetime.strptime(EXAMPLE.strftime(form), form)
        has_year = moment.year == EXAMPLE.year
    except (ValueError, re.error):
        # A code that is stated twice is an error of the regular expression behind strptime.
        has_year = False
    if not has_year or "%Z" in form:
        raise ValueError(
            f"{key}: '{form}' reads no date: use the codes of strptime, a year among them, as in "
            "%d.%m.%Y %H:%M"
        )


def check_bounds(name: str, column: Column) -> None:
    """Check that the first and the last date exist, in this order.

    Raises:
        ValueError: they do not.
    """
    bounds = []
    for key, text in (("earliest", column.earliest), ("latest", column.latest)):
        if text is None:
            continue
        try:
            bounds.append(bound_of(text, column.time_zone, is_last=key == "latest"))
        except ValueError:
            raise ValueError(
                f"columns.{name}.{key}: is '{text}': state a date that exists, in the ISO form, as "
                "2020-01-31"
            ) from None
    if bounds != sorted(bounds):
        raise ValueError(
            f"columns.{name}: earliest is {column.earliest} and latest is {column.latest}: "
            "earliest must not lie after latest"
        )
