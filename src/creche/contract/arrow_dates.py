"""Convert Arrow columns of dates and times into moments in UTC.

A whole column gives the same values and errors as its cells one by one (`creche.contract.dates`).
"""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.arrow_cells import (
    CellFormat,
    ConversionError,
    bytes_as_text,
    of_rows,
    to_texts,
)
from creche.contract.arrow_date_texts import plain_moments
from creche.contract.arrow_texts import map_distinct
from creche.contract.dates import (
    EPOCH,
    MAX_SECONDS,
    MICROSECOND,
    MIN_SECONDS,
    YEAR_OUT_OF_RANGE,
    DateFormat,
    in_utc,
    is_not_a_time,
    microseconds,
    parse_date_text,
    zone_info,
)

MOMENT = pa.timestamp("us", "UTC")  # of the values
SECONDS_PER_DAY = 86_400
MICROSECONDS = 1_000_000  # in a second
MICROSECONDS_PER_DAY = SECONDS_PER_DAY * MICROSECONDS
UNITS_PER_SECOND = {"s": 1, "ms": 1000, "us": MICROSECONDS, "ns": 1_000_000_000}
LOCAL_EPOCH = EPOCH.replace(tzinfo=None)


def to_dates(
    cells: pa.Array, date_format: DateFormat, cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as moments in UTC, null where there is none, and the errors.

    Args:
        cells: dates, times or texts of them.
        date_format: of texts, and of dates and times without a zone.
        cell_format: states the spellings of a missing value.
    """
    if pa.types.is_dictionary(cells.type):
        values, errors = to_dates(cells.dictionary, date_format, cell_format)
        return values.take(cells.indices), [of_rows(error, cells.indices) for error in errors]
    if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
        return _from_temporal(cells, date_format)
    texts, errors = to_texts(bytes_as_text(cells), cell_format)
    moments, errors_of_texts = _parse_texts(texts, date_format, cell_format)
    return moments, [*errors, *errors_of_texts]


def _from_temporal(
    cells: pa.Array, date_format: DateFormat
) -> tuple[pa.Array, list[ConversionError]]:
    is_missing = np.asarray(cells.is_null())
    values, is_out_of_range = _microseconds(cells)
    errors = []
    is_out_of_range &= ~is_missing
    if is_out_of_range.any():
        errors.append(ConversionError(YEAR_OUT_OF_RANGE, is_out_of_range))
    moments = pa.array(values, mask=is_missing | is_out_of_range)
    if pa.types.is_timestamp(cells.type) and cells.type.tz is not None:
        return moments.cast(MOMENT), errors
    shifted, errors_of_zone = _localize(moments, date_format.time_zone)
    return shifted.cast(MOMENT), [*errors, *errors_of_zone]


def _localize(local: pa.Array, time_zone: str | None) -> tuple[pa.Array, list[ConversionError]]:
    """Return local times in UTC, both in microseconds since 1970, int64, and the errors."""
    if time_zone is None:
        return local, []
    is_missing = np.asarray(local.is_null())
    times = local.fill_null(0).to_numpy()
    days, day_of_row = np.unique(times // MICROSECONDS_PER_DAY, return_inverse=True)
    offsets, is_constant = _offsets_of_days(days, time_zone)
    is_special = ~is_constant[day_of_row] & ~is_missing
    shifted = pa.array(times - offsets[day_of_row], mask=is_missing | is_special)
    if not is_special.any():
        return shifted, []
    # Clocks are changed on such a day, or it is at an end of the calendar.
    encoded = pc.if_else(pa.array(is_special), local, None).dictionary_encode()
    distinct, errors = map_distinct(
        encoded.dictionary.to_pylist(), encoded.indices, lambda time: _in_utc(time, time_zone)
    )
    one_by_one = pa.array(distinct, pa.int64()).take(encoded.indices)
    return pc.coalesce(shifted, one_by_one), errors


def _offsets_of_days(days: np.ndarray, time_zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the offset of a zone on each day (n,), in microseconds, and whether it is the same
    from the day's beginning to its end.
    """
    zone = zone_info(time_zone)
    offsets = np.zeros(len(days), np.int64)
    is_constant = np.zeros(len(days), bool)
    for position, day in enumerate(days.tolist()):
        try:
            start = LOCAL_EPOCH + timedelta(days=day)
            offset = zone.utcoffset(start)
            is_constant[position] = offset == zone.utcoffset(start + timedelta(days=1))
            # In UTC it must be in the calendar too.
            in_utc(start, time_zone)
            in_utc(start + timedelta(days=1), time_zone)
        except (OverflowError, ValueError):
            is_constant[position] = False
            continue
        if offset is not None:
            offsets[position] = offset // MICROSECOND
    return offsets, is_constant


def _in_utc(local: int, time_zone: str) -> int:
    moment = LOCAL_EPOCH + timedelta(microseconds=local)
    return microseconds(in_utc(moment, time_zone))


def _microseconds(cells: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return microseconds since 1970 (n,), int64, and the mask (n,) of other years than 1 to 9999.

    What is finer is cut off, towards the past.
    """
    if pa.types.is_date32(cells.type):
        numbers = cells.cast(pa.int32()).cast(pa.int64()).fill_null(0).to_numpy()
        numbers, per_second = numbers * SECONDS_PER_DAY, 1
    else:
        numbers = cells.cast(pa.int64()).fill_null(0).to_numpy()
        unit = "ms" if pa.types.is_date64(cells.type) else cells.type.unit
        per_second = UNITS_PER_SECOND[unit]
    seconds = numbers // per_second
    is_out_of_range = (seconds < MIN_SECONDS) | (seconds > MAX_SECONDS)
    numbers = np.where(is_out_of_range, 0, numbers)
    if per_second > MICROSECONDS:
        return numbers // (per_second // MICROSECONDS), is_out_of_range
    return numbers * (MICROSECONDS // per_second), is_out_of_range


def _parse_texts(
    texts: pa.Array, date_format: DateFormat, cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    local = plain_moments(texts, date_format)
    moments, errors = _localize(local, date_format.time_zone)
    if local.null_count == texts.null_count:
        return moments.cast(MOMENT), errors

    def parse(text: str) -> int | None:
        if is_not_a_time(text, cell_format.missing):
            return None
        return microseconds(parse_date_text(text, date_format))

    unread = pc.if_else(local.is_null(), texts, None).dictionary_encode()
    distinct, errors_of_texts = map_distinct(unread.dictionary.to_pylist(), unread.indices, parse)
    one_by_one = pa.array(distinct, pa.int64()).take(unread.indices)
    return pc.coalesce(moments, one_by_one).cast(MOMENT), [*errors, *errors_of_texts]
