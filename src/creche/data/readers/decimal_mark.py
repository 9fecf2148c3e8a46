"""Find out whether a CSV file writes its numbers with a decimal point or a decimal comma.

One file has one mark. It is decided from all of its numbers: `1,234` alone may be 1.234 or 1234,
and beside `950.25` or `12,5` it is one of them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.number_format import NumberFormat
from creche.errors import DataError

POINT = "."
COMMA = ","
# Texts that may be numbers, with marks of either kind.
NUMBER_WITH_MARKS = r"^[-+]?[\d.,]*\d[\d.,]*([eE][-+]?\d+)?$"
# A comma here may separate thousands, or whole and fraction.
MAY_BE_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}", re.ASCII)
WAY_OUT = "state `decimal_mark` of the column in the recipe, or write the file with one mark"


@dataclass(frozen=True)
class Example:
    """A number of a file, and where it is."""

    column: str
    text: str

    def __str__(self) -> str:
        return f"'{self.text}' in column {self.column}"


@dataclass
class MarksSeen:
    """Examples of numbers by the mark that they have, the first of each."""

    point: Example | None = None
    comma: Example | None = None  # surely decimal
    commas: Example | None = None  # more than one, so that they group digits
    comma_or_thousands: Example | None = None

    def add(self, column: str, texts: Iterable[str]) -> None:
        """Note the marks of some distinct numbers of a column."""
        for text in texts:
            self._add(Example(column, text))

    def _add(self, example: Example) -> None:
        last_mark = max(example.text.rfind(POINT), example.text.rfind(COMMA))
        if last_mark < 0:
            return
        if example.text[last_mark] == POINT:
            self.point = self.point or example
        elif example.text.count(COMMA) > 1:
            self.commas = self.commas or example
        elif MAY_BE_THOUSANDS.fullmatch(example.text):
            self.comma_or_thousands = self.comma_or_thousands or example
        else:
            self.comma = self.comma or example

    def decide(self, name: str) -> str:
        """Return the mark of the file.

        Args:
            name: of the file.

        Raises:
            DataError: the numbers have both marks, or only commas that may separate thousands.
        """
        comma = self.comma or self.comma_or_thousands
        if comma is None:
            return POINT
        if self.point is not None:
            raise DataError(
                f"{name}: {self.point} has a decimal point, and {comma} a comma, so one of them "
                f"would be read as another number: {WAY_OUT}"
            )
        if self.commas is not None:
            raise DataError(
                f"{name}: the commas of {self.commas} group digits, and that of {comma} may "
                f"separate whole and fraction: {WAY_OUT}"
            )
        if self.comma is None:
            raise DataError(
                f"{name}: the comma of {comma} may separate thousands, or whole and fraction, and "
                f"no other number of the file tells which: {WAY_OUT}"
            )
        return COMMA


def numbers_with_marks(cells: pa.Array, number_format: NumberFormat) -> list[str]:
    """Return the distinct numbers among texts that have a comma or a point, without what their
    format removes.
    """
    has_mark = pc.or_(pc.match_substring(cells, COMMA), pc.match_substring(cells, POINT))
    marked = cells.filter(pc.fill_null(has_mark, False))
    trimmed = pc.unique(pc.utf8_trim_whitespace(marked))
    # Which mark is decimal is yet to be found out, so that either may follow grouped digits.
    for decimal_mark in (POINT, COMMA):
        trimmed = number_format.plain_texts(trimmed, decimal_mark)
    is_number = np.asarray(pc.match_substring_regex(trimmed, NUMBER_WITH_MARKS))
    numbers: list[str] = trimmed.filter(pa.array(is_number)).to_pylist()
    return numbers
