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
from creche.contract.arrow_texts import map_distinct
from creche.contract.dates import (
    EPOCH,
    MAX_SECONDS,
    MIN_SECONDS,
    YEAR_OUT_OF_RANGE,
    DateFormat,
    in_utc,
    is_not_a_time,
    microseconds,
    parse_date_text,
)

MOMENT = pa.timestamp("us", "UTC")  # of the values
SECONDS_PER_DAY = 86_400
MICROSECONDS = 1_000_000  # in a second
UNITS_PER_SECOND = {"s": 1, "ms": 1000, "us": MICROSECONDS, "ns": 1_000_000_000}
# Texts that Arrow and Python read alike, but for the year 0.
PLAIN_MOMENT = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2})?$"


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
    has_zone = pa.types.is_timestamp(cells.type) and cells.type.tz is not None
    if has_zone or date_format.time_zone is None:
        return moments.cast(MOMENT), errors
    encoded = moments.dictionary_encode()
    naive_epoch = EPOCH.replace(tzinfo=None)

    def localize(local: int) -> int:
        moment = naive_epoch + timedelta(microseconds=local)
        return microseconds(in_utc(moment, date_format.time_zone))

    distinct, errors_of_zone = map_distinct(
        encoded.dictionary.to_pylist(), encoded.indices, localize
    )
    values_in_utc = pa.array(distinct, pa.int64()).cast(MOMENT)
    return values_in_utc.take(encoded.indices), [*errors, *errors_of_zone]


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
    if date_format == DateFormat():
        moments = _parse_plain(texts)
        if moments is not None:
            return moments, []
    encoded = texts.dictionary_encode()

    def parse(text: str) -> int | None:
        if is_not_a_time(text, cell_format.missing):
            return None
        return microseconds(parse_date_text(text, date_format))

    distinct, errors = map_distinct(encoded.dictionary.to_pylist(), encoded.indices, parse)
    return pa.array(distinct, pa.int64()).cast(MOMENT).take(encoded.indices), errors


def _parse_plain(texts: pa.Array) -> pa.Array | None:
    """Return moments of texts in the plainest ISO form; None where one has another form."""
    is_plain = pc.match_substring_regex(texts, PLAIN_MOMENT)
    if not pc.all(is_plain).as_py():
        return None
    try:
        moments = texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    values, is_out_of_range = _microseconds(moments)
    if is_out_of_range.any():
        return None
    return pa.array(values, mask=np.asarray(texts.is_null())).cast(MOMENT)
