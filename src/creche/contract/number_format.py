"""How the numbers of a column are written, beside their decimal mark: grouped digits, and signs
before or after them.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Spaces that may stand inside a number: with a tabulator, and the two that do not break a line.
SPACES = "[ \\t\u00a0\u202f]"
# What is taken for each separator of thousands, as a set of a regular expression.
SEPARATORS = {",": "[,]", ".": "[.]", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}
CURRENCY_AND_PERCENT = "$€£¥₹₩₽¢%‰ \t\u00a0\u202f"
GROUPED_DIGITS = re.compile("[-+]?[0-9]{1,3}([.,' \u00a0\u202f\u2019][0-9]{3})+([.,][0-9]*)?")
WITH_DECIMAL_MARK = re.compile("[-+]?[0-9]*[.,][0-9]+")
DIGITS_AND_MARKS = re.compile("[-+]?[0-9.,' \u00a0\u202f\u2019]*[0-9][.,]?")

NOT_A_NUMBER = "not a number"
STATE_THOUSANDS = (
    "not a number, unless its digits are grouped: then state `thousands` and `decimal_mark` of the "
    "column in the recipe"
)
STATE_DECIMAL_MARK = (
    "not a number, unless it has another decimal mark: then state `decimal_mark` of the column in "
    "the recipe"
)
STATE_SYMBOLS = (
    "not a number, unless the sign beside it does not count: then state it under `symbols` of the "
    "column in the recipe"
)


@dataclass(frozen=True)
class NumberFormat:
    """What is removed from a text before it is read as a number.

    Attributes:
        thousands: what groups digits. Of grouped digits the last group has three, and those between
            have two or three, as in India.
        symbols: signs at either end, also between a minus and the digits.
    """

    thousands: str | None = None
    symbols: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether nothing is removed."""
        return self.thousands is None and not self.symbols

    def plain_text(self, text: str, decimal_mark: str) -> str:
        """Return a text without separators of thousands and signs.

        Args:
            text: without surrounding spaces.
            decimal_mark: what separates whole and fraction.
        """
        if self.symbols:
            parts = re.fullmatch(_with_symbols(self.symbols), text)
            if parts is not None:
                text = parts[1] + parts[2]
        if self.thousands and re.fullmatch(_grouped(self.thousands, decimal_mark), text):
            text = re.sub(SEPARATORS[self.thousands], "", text)
        return text

    def plain_texts(self, texts: "pa.Array", decimal_mark: str) -> "pa.Array":
        """Return what `plain_text` does of each text of an Arrow array."""
        import pyarrow.compute as pc

        if self.symbols:
            pattern = f"^{_with_symbols(self.symbols)}$"
            texts = pc.replace_substring_regex(texts, pattern, r"\1\2")
        if self.thousands:
            pattern = f"^{_grouped(self.thousands, decimal_mark)}$"
            is_grouped = pc.match_substring_regex(texts, pattern)
            ungrouped = pc.replace_substring_regex(texts, SEPARATORS[self.thousands], "")
            texts = pc.if_else(is_grouped, ungrouped, texts)
        return texts


PLAIN_FORMAT = NumberFormat()


def reason_of(text: str) -> str:
    """Return why a text is no number: its format may only have to be stated."""
    if GROUPED_DIGITS.fullmatch(text):
        return STATE_THOUSANDS
    if WITH_DECIMAL_MARK.fullmatch(text):
        return STATE_DECIMAL_MARK
    digits = text.strip(CURRENCY_AND_PERCENT)
    if digits != text and DIGITS_AND_MARKS.fullmatch(digits):
        return STATE_SYMBOLS
    return NOT_A_NUMBER


# Python's and RE2's regular expressions have the parts of these in common.
@cache
def _with_symbols(symbols: tuple[str, ...]) -> str:
    """Return the pattern of a text with signs, whose two groups are its sign and its digits."""
    longest_first = sorted(symbols, key=len, reverse=True)
    symbol = "|".join(re.escape(symbol) for symbol in longest_first)
    before = f"(?:(?:{symbol}){SPACES}*)*"
    after = f"(?:{SPACES}*(?:{symbol}))*"
    return f"(?s:{before}([-+]?){SPACES}*{before}(.*?){after})"


@cache
def _grouped(thousands: str, decimal_mark: str) -> str:
    """Return the pattern of a number whose digits are grouped."""
    separator = SEPARATORS[thousands]
    whole = f"[-+]?[0-9]{{1,3}}(?:{separator}[0-9]{{2,3}})*{separator}[0-9]{{3}}"
    return f"{whole}(?:{re.escape(decimal_mark)}[0-9]*)?(?:[eE][-+]?[0-9]+)?"
