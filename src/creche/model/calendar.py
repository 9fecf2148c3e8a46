"""The parts of a date, computed from the seconds since 1970 by arithmetic alone.

The same formulas compute with numpy arrays and with the tensors of a graph, so that both give the
same numbers.

References:
    Hinnant (2021), chrono-Compatible Low-Level Date Algorithms: `civil_from_days`.
"""

from collections.abc import Callable, Collection
from typing import Any

SECONDS_PER_DAY = 86_400.0
SECONDS_PER_HOUR = 3600.0
# From 0000-03-01 to 1970-01-01. Years begin in March inside, so that a leap day is their last.
DAYS_BEFORE_1970 = 719_468.0
DAYS_PER_ERA = 146_097.0  # 400 years
WEEKDAY_OF_1970 = 3.0  # a Thursday; Monday is 0


def calendar_parts(
    seconds: Any, floor: Callable[[Any], Any], parts: Collection[str]
) -> dict[str, Any]:
    """Return part → whole numbers: `year`, `month` 1 to 12, `day` 1 to 31, `weekday` 0 to 6 from
    Monday on, `hour` 0 to 23.

    Args:
        seconds: since 1970 in UTC; numbers with arithmetic of float64.
        floor: rounds such numbers down.
        parts: those that are wanted; others may be left out.
    """
    whole_seconds = floor(seconds)
    days = floor(whole_seconds / SECONDS_PER_DAY)
    computed = {}
    if "hour" in parts:
        computed["hour"] = floor((whole_seconds - days * SECONDS_PER_DAY) / SECONDS_PER_HOUR)
    if "weekday" in parts:
        shifted = days + WEEKDAY_OF_1970
        computed["weekday"] = shifted - floor(shifted / 7.0) * 7.0
    if {"year", "month", "day"}.intersection(parts):
        computed |= _date_parts(days, floor)
    return computed


def _date_parts(days: Any, floor: Callable[[Any], Any]) -> dict[str, Any]:
    shifted = days + DAYS_BEFORE_1970
    era = floor(shifted / DAYS_PER_ERA)
    day_of_era = shifted - era * DAYS_PER_ERA  # 0 to 146,096
    leap_days = floor(day_of_era / 1460.0) - floor(day_of_era / 36_524.0)
    last_day = floor(day_of_era / 146_096.0)  # 1 of the leap day at its end
    year_of_era = floor((day_of_era - leap_days - last_day) / 365.0)
    days_before_year = year_of_era * 365.0 + floor(year_of_era / 4.0) - floor(year_of_era / 100.0)
    day_of_year = day_of_era - days_before_year  # 0 to 365, from March on
    month = floor((day_of_year * 5.0 + 2.0) / 153.0)  # 0 to 11, from March on
    day = day_of_year - floor((month * 153.0 + 2.0) / 5.0) + 1.0
    is_next_year = floor(month / 10.0)  # 1 of January and February
    return {
        "year": year_of_era + era * 400.0 + is_next_year,
        "month": month + 3.0 - is_next_year * 12.0,
        "day": day,
    }
