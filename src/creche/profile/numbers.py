"""Find out how the numbers of a column are written, and read them."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import FLOAT32_MAX

NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
LEADING_ZERO = r"^-?0\d+$"
SYMBOLS = ("$", "€", "£", "¥", "₹", "%", "USD", "EUR", "GBP", "CHF")
# Mark before the fraction, and what groups the digits before it.
MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"))


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written.

    Attributes:
        decimal_mark: separates whole and fraction.
        thousands: groups the digits; empty where nothing does.
        symbols: stand before or after a number, as a currency or percent sign.
    """

    decimal_mark: str = "."
    thousands: str = ""
    symbols: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        return self == PLAIN


PLAIN = NumberFormat()


def parse_numbers(texts: pa.Array, number_format: NumberFormat = PLAIN) -> np.ndarray:
    """Return texts as float64, NaN where a text is no number or too large for a model (n,)."""
    cleaned = texts
    for symbol in number_format.symbols:
        cleaned = pc.replace_substring(cleaned, symbol, "")
    if number_format.symbols:
        cleaned = pc.utf8_trim_whitespace(cleaned)
    mark, thousands = number_format.decimal_mark, number_format.thousands
    is_number = None
    if thousands or mark == ",":
        is_number = pc.match_substring_regex(cleaned, _pattern(mark, thousands))
    if thousands:
        cleaned = pc.replace_substring(cleaned, thousands, "")
    if mark == ",":
        cleaned = pc.replace_substring(cleaned, ",", ".")
    is_plain = pc.match_substring_regex(cleaned, NUMBER)
    is_number = is_plain if is_number is None else pc.and_(is_number, is_plain)
    # Arrow refuses a sign before a number that Python takes.
    unsigned = pc.replace_substring_regex(cleaned, r"^\+", "")
    numbers = pc.if_else(is_number, unsigned, None).cast(pa.float64())
    floats: np.ndarray = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    floats[~(np.abs(floats) <= FLOAT32_MAX)] = np.nan
    return floats


def _pattern(mark: str, thousands: str) -> str:
    """Return the pattern of numbers with these marks; groups of digits have three of them."""
    fraction = rf"({re.escape(mark)}\d*)?"
    exponent = r"([eE][-+]?\d+)?$"
    if not thousands:
        return rf"^[-+]?\d*{fraction}{exponent}"
    group = re.escape(thousands)
    return rf"^[-+]?(\d{{1,3}}({group}\d{{3}})+|\d+){fraction}{exponent}"


def find_number_format(texts: pa.Array, counts: np.ndarray) -> tuple[NumberFormat, np.ndarray]:
    """Return the format under which the most rows are numbers, and the numbers.

    A plain number wins over any other format that reads as many rows.

    Args:
        texts: distinct cells (d,).
        counts: rows of each (d,).

    Returns:
        The format, and the numbers, NaN where a text is none (d,).
    """
    best_format, best_numbers = PLAIN, parse_numbers(texts)
    best_rows = int(counts[~np.isnan(best_numbers)].sum())
    total = int(counts.sum())
    symbols = _symbols_in(texts)
    for mark, thousands in MARKS:
        if best_rows == total:
            break
        candidate = NumberFormat(mark, thousands, symbols)
        numbers = parse_numbers(texts, candidate)
        rows = int(counts[~np.isnan(numbers)].sum())
        if rows > best_rows:
            best_format, best_numbers, best_rows = candidate, numbers, rows
    return best_format, best_numbers


def _symbols_in(texts: pa.Array) -> tuple[str, ...]:
    """Return the symbols that stand beside a digit at the start or end of a text."""
    found = []
    for symbol in SYMBOLS:
        quoted = re.escape(symbol)
        pattern = rf"^[-+]?\s*{quoted}\s*[-+]?[\d.,]|\d\s*{quoted}$"
        if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
            found.append(symbol)
    return tuple(found)


def is_ambiguous(texts: pa.Array, number_format: NumberFormat) -> bool:
    """Whether every mark of the column may separate thousands, or whole and fraction."""
    if number_format.decimal_mark == number_format.thousands or number_format.is_plain:
        return False
    mark = number_format.thousands or number_format.decimal_mark
    marked = texts.filter(pc.match_substring(texts, mark))
    pattern = rf"^\D*[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}\D*$"
    return bool(len(marked)) and bool(pc.all(pc.match_substring_regex(marked, pattern)).as_py())


def has_leading_zeros(texts: pa.Array) -> bool:
    """Whether texts are codes such as 007, which are no numbers."""
    return bool(pc.any(pc.match_substring_regex(texts, LEADING_ZERO)).as_py())
