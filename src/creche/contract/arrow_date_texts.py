"""Texts of an Arrow column that Arrow's own parser reads as dates, for speed.

A format of strptime made of numbers alone is rewritten into the ISO form. What is not read here is
parsed one by one (`creche.contract.dates`), with the same outcome.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.dates import ISO, DateFormat

PLAIN_ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2})?$"
# Code of strptime → pattern of the digits; the year alone has always as many.
DIGITS = {"Y": r"(\d{4})", "m": r"(\d{1,2})", "d": r"(\d{1,2})"} | dict.fromkeys(
    "HMS", r"(\d{1,2})"
)
CODE = re.compile("%(.)")
LENGTH_OF_DATE = 10  # characters of 2020-01-31
# Where the digits of month, day, hour, minute and second begin in the ISO form.
STARTS = (5, 8, 11, 14, 17)
DAYS_OF_MONTH = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def plain_moments(texts: pa.Array, date_format: DateFormat) -> pa.Array:
    """Return the local times of texts that Arrow reads, null of all others: microseconds since
    1970, int64.
    """
    iso = _in_iso_form(texts, date_format)
    if iso is None or iso.null_count == len(iso):
        return pa.nulls(len(texts), pa.int64())
    try:
        moments = iso.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        moments = pc.if_else(_exists(iso), iso, None).cast(pa.timestamp("us"))
    # Arrow knows a year 0.
    is_year_0 = pc.starts_with(iso, "0000")
    return pc.if_else(is_year_0, None, moments).cast(pa.int64())


def _in_iso_form(texts: pa.Array, date_format: DateFormat) -> pa.Array | None:
    """Return texts in the plainest ISO form, null of those that have another one; None: of all."""
    if len(date_format.formats) > 1:
        # Each text must be held against all formats.
        return None
    form = date_format.formats[0] if date_format.formats else ISO
    if form != ISO:
        codes = CODE.findall(form)
        is_date = codes[:3] and sorted(codes[:3]) == sorted("Ymd")
        if not is_date or codes[3:] not in ([], ["H", "M"], ["H", "M", "S"]):
            return None
        texts = _rewritten(texts, form, codes)
    is_plain = pc.match_substring_regex(texts, PLAIN_ISO)
    return pc.if_else(is_plain, texts, None)


def _rewritten(texts: pa.Array, form: str, codes: list[str]) -> pa.Array:
    """Return texts of a format in the ISO form, null of those of another one."""
    parts = CODE.split(form)
    # Literal text and codes take turns.
    pattern = "".join(
        DIGITS[part] if position % 2 else re.escape(part) for position, part in enumerate(parts)
    )
    group_of = {code: number for number, code in enumerate(codes, 1)}
    iso = rf"\{group_of['Y']}-\{group_of['m']}-\{group_of['d']}"
    if "H" in group_of:
        seconds = rf"\{group_of['S']}" if "S" in group_of else "00"
        iso += rf" \{group_of['H']}:\{group_of['M']}:{seconds}"
    is_of_format = pc.match_substring_regex(texts, f"^{pattern}$")
    rewritten = pc.replace_substring_regex(texts, f"^{pattern}$", iso)
    padded = pc.replace_substring_regex(rewritten, r"([-: ])(\d)\b", r"\10\2")
    return pc.if_else(is_of_format, padded, None)


def _exists(iso: pa.Array) -> pa.Array:
    """Return whether the calendar has each date and the day each time; null where there is none."""
    year = _digits(iso, 0, 4)
    month, day, hour, minute, second = (_digits(iso, start, start + 2) for start in STARTS)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    is_month = (month >= 1) & (month <= 12)
    days = DAYS_OF_MONTH[np.where(is_month, month, 1) - 1] + (is_leap & (month == 2))
    is_time = (hour < 24) & (minute < 60) & (second < 60)
    return pa.array(is_month & (day >= 1) & (day <= days) & is_time)


def _digits(iso: pa.Array, start: int, stop: int) -> np.ndarray:
    """Return the number (n,) that stands at a place; 0 where a text is too short or null."""
    texts = pc.utf8_slice_codeunits(iso, start, stop)
    has_digits = pc.equal(pc.utf8_length(texts), stop - start)
    numbers = pc.if_else(has_digits, texts, "0").cast(pa.int64()).fill_null(0)
    array: np.ndarray = numbers.to_numpy(zero_copy_only=False)
    return array
