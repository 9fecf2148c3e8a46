"""Periods of time: which one a row is from, by a column of dates or numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAYS_SINCE_MONDAY = 3  # of 1970-01-01, a Thursday
DAYS_OF_WEEK = 7
MONTHS_OF_QUARTER = 3

Period = str | float  # its name in a recipe, or its width in the unit of a number


def period_numbers(values: pa.ChunkedArray, period: Period) -> np.ndarray:
    """Return the number of each value's period (n,), int64; a later period has a higher number.

    Args:
        values: numbers, or timestamps, which count in UTC.
        period: day, week, month, quarter or year; or the width of a period of numbers.
    """
    if not isinstance(period, str):
        return _whole(np.floor(values.to_numpy() / period))
    times = _as_datetimes(values)
    match period:
        case "day":
            return _whole(times.astype("datetime64[D]"))
        case "week":
            days = _whole(times.astype("datetime64[D]"))
            return (days + DAYS_SINCE_MONDAY) // DAYS_OF_WEEK
        case "month":
            return _whole(times.astype("datetime64[M]"))
        case "quarter":
            return _whole(times.astype("datetime64[M]")) // MONTHS_OF_QUARTER
        case "year":
            return _whole(times.astype("datetime64[Y]"))
    raise ValueError(f"no period is named {period}")


def _whole(values: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = values.astype(np.int64)
    return numbers


def _as_datetimes(values: pa.ChunkedArray) -> np.ndarray:
    # An Arrow timestamp with a time zone counts in UTC.
    microseconds = values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64())
    times: np.ndarray = microseconds.to_numpy().view("datetime64[us]")
    return times


def value_range(values: pa.ChunkedArray) -> tuple[str, str]:
    """Return the smallest and the largest value as texts."""
    extremes = pc.min_max(values)
    texts = [_as_text(extremes[key]) for key in ("min", "max")]
    return texts[0], texts[1]


def _as_text(value: pa.Scalar) -> str:
    if not pa.types.is_timestamp(value.type):
        return f"{value.as_py():g}"
    microseconds = value.cast(pa.timestamp("us", value.type.tz)).cast(pa.int64()).as_py()
    text = str(np.datetime64(microseconds, "us"))
    date, _, time = text.partition("T")
    if not time.strip("0:."):
        return date
    return f"{date} {time.removesuffix('.000000')}"
