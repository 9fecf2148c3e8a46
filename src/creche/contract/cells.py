"""Parse one cell of a table: a number, a text, or a missing value.

Every carrier of a value gives the same one: text, a number of any width, a decimal, bytes. Which
one that is, docs/concepts/rows.md states.
"""

import math
import re
import unicodedata
from decimal import Decimal
from functools import cache

from creche.contract.number_format import NOT_A_NUMBER, PLAIN_FORMAT, NumberFormat, reason_of

# Spellings of a missing value; compared without surrounding spaces and in lower case.
MISSING_VALUES = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "."})
MISSING_TEXT = ""  # a missing category, in the arrays that a model takes
FLOAT32_MAX = 3.4028234663852886e38  # models compute in float32
NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?", re.ASCII | re.IGNORECASE
)
# A whole number as pandas writes it in a column with holes.
WHOLE_WITH_FRACTION = re.compile(r"(-?(?:0|[1-9]\d*))\.0+", re.ASCII)
TRUTH_VALUES = {"true": "True", "false": "False"}
NOT_FINITE = "not finite"
NOT_UTF8_TEXT = "not UTF-8 text"
# Decimal digits of a conversion between units: every decimal of as many is a float64 of its own.
CONVERSION_DIGITS = 15
LARGEST_EXACT_POWER = 22  # 10 ** 22 is the largest power of ten that is a float64


def parse_number(
    cell: object,
    missing: frozenset[str] = MISSING_VALUES,
    decimal_mark: str = ".",
    number_format: NumberFormat = PLAIN_FORMAT,
) -> float | None:
    """Return the number in a cell, None where the value is missing.

    Args:
        missing: spellings of a missing value, in lower case.
        decimal_mark: what separates whole and fraction in a text.
        number_format: what is removed from a text beforehand.

    Raises:
        ValueError: the cell is not a number, or an infinity; the message is the reason.
    """
    if isinstance(cell, bytes):
        cell = _decode(cell, NOT_A_NUMBER)
    if cell is None:
        return None
    if isinstance(cell, str):
        stripped = cell.strip()
        if stripped.lower() in missing:
            return None
        plain = number_format.plain_text(stripped, decimal_mark)
        digits = swap_marks(plain) if decimal_mark == "," else plain
        if not NUMBER.fullmatch(digits):
            raise ValueError(reason_of(plain))
        value = float(digits)
    elif isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        try:
            value = float(cell)
        except OverflowError:
            # Python's whole numbers have no largest one.
            raise ValueError(NOT_FINITE) from None
    else:
        raise ValueError(NOT_A_NUMBER)
    if math.isnan(value) or value in missing_numbers(missing, decimal_mark):
        return None
    if abs(value) > FLOAT32_MAX:
        raise ValueError(NOT_FINITE)
    return value


def parse_text(
    cell: object, missing: frozenset[str] = MISSING_VALUES, decimal_mark: str = "."
) -> str | None:
    """Return the text in a cell in its canonical spelling, None where the value is missing.

    Args:
        missing: spellings of a missing value, in lower case.
        decimal_mark: what separates whole and fraction in a text.

    Raises:
        ValueError: the cell holds bytes that are no text; the message is the reason.
    """
    if isinstance(cell, bytes):
        cell = _decode(cell, NOT_UTF8_TEXT)
    if cell is None:
        return None
    text = spell_number(cell) if isinstance(cell, float | Decimal) else str(cell)
    stripped = text.strip()
    if stripped.lower() in missing:
        return None
    return spell_text(stripped, decimal_mark)


def spell_text(text: str, decimal_mark: str = ".") -> str:
    """Return the canonical spelling of a text that is not missing.

    It has no surrounding spaces and is in Unicode's form NFC (UAX #15); a whole number has no `.0`;
    a truth value is `True` or `False`; a number with a decimal comma has a point.
    """
    spelled = unicodedata.normalize("NFC", text.strip())
    if decimal_mark == "," and NUMBER.fullmatch(swap_marks(spelled)):
        spelled = swap_marks(spelled)
    whole = WHOLE_WITH_FRACTION.fullmatch(spelled)
    if whole:
        # `-0` is 0.
        return str(int(whole.group(1)))
    return TRUTH_VALUES.get(spelled.lower(), spelled)


def spell_number(number: float | Decimal) -> str:
    """Return a number as the shortest decimal that is read as it, without `.0`."""
    if not math.isfinite(number):
        return str(number)
    if isinstance(number, Decimal):
        return format(number.normalize(), "f")
    return str(int(number)) if number.is_integer() else repr(number)


def is_fraction(text: str) -> bool:
    """Whether a text is a number with a decimal point."""
    return "." in text and NUMBER.fullmatch(text) is not None


def swap_marks(text: str) -> str:
    """Return a text with commas in place of points, and points in place of commas.

    A number with a decimal comma becomes one with a point, and one with a point no number.
    """
    return text.translate({ord("."): ",", ord(","): "."})


# Called for every cell of a column whose recipe states its missing values.
@cache
def missing_numbers(missing: frozenset[str], decimal_mark: str = ".") -> frozenset[float]:
    """Return the spellings of a missing value that are numbers, as -999."""
    if missing is MISSING_VALUES:
        return frozenset()
    numbers = set()
    for spelling in missing:
        text = swap_marks(spelling) if decimal_mark == "," else spelling
        if NUMBER.fullmatch(text):
            numbers.add(float(text))
    return frozenset(numbers)


def convert_unit(value: float, factor: float) -> float:
    """Return a number in another unit, rounded to 15 significant digits.

    700 g are 0.7 kg, where the plain product is 0.7000000000000001.
    """
    product = value * factor
    if product == 0 or not math.isfinite(product):
        return product
    power = CONVERSION_DIGITS - 1 - math.floor(math.log10(abs(product)))
    if not 0 <= power <= LARGEST_EXACT_POWER:
        return product
    scale = 10.0**power
    return round(product * scale) / scale


def _decode(cell: bytes, reason: str) -> str:
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(reason) from None


def is_utf8(text: str) -> bool:
    """Whether a text was decoded whole; Python keeps other bytes as lone surrogates (PEP 383)."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def normalize_name(name: str) -> str:
    """Return a column name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())
