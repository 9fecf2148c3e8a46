"""Rules across columns that hold in every row and look meant, for a person to take or leave.

Dates that follow each other, numbers whose names are a lower and an upper one, and a value that is
there exactly in the rows with one value of a category.
"""

import keyword
import re
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

from creche.contract import normalize_name
from creche.contract.expression_text import MAX_LENGTH
from creche.profile.inferred_column import InferredColumn
from creche.profile.plan import ProfiledColumn, TableProfile
from creche.profile.yaml_text import flow

FEWEST_PAIRS = 30  # rows with both values, from which on an order is no chance
FEWEST_SMALLER = 0.1  # share of those rows where the first value is really smaller
MAX_RULES = 10
MAX_DATES = 20  # columns of dates that are compared with each other
MAX_NUMBERS = 200  # columns of numbers whose names are compared
MAX_VALUES = 20  # of a category that decides whether another value is there
# Words of names: the first one's number is at most the other's.
NAME_PAIRS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("low", "high"),
    ("lower", "upper"),
    ("start", "end"),
    ("begin", "end"),
    ("from", "to"),
    ("first", "last"),
    ("birth", "death"),
)


def suggested_rules(profile: TableProfile) -> list[str]:
    """Return rules as the entries of a list in YAML, the plainest first."""
    columns = []
    for column in profile.columns:
        # The label is what is predicted, and a rule of it would not hold for rows to score.
        if column.role not in ("label", "left out") and "`" not in column.name:
            columns.append(column)
    rules = [*_ordered_dates(columns), *_ordered_numbers(columns), *_required_values(columns)]
    return [rule for rule in rules if len(rule) < MAX_LENGTH][:MAX_RULES]


def _ordered_dates(columns: Sequence[ProfiledColumn]) -> Iterator[str]:
    dates = [column for column in columns if column.inferred.kind == "date"]
    for earlier, later in permutations(dates[:MAX_DATES], 2):
        if _is_at_most(earlier.inferred, later.inferred):
            yield flow(f"{_name(earlier)} <= {_name(later)}")


def _ordered_numbers(columns: Sequence[ProfiledColumn]) -> Iterator[str]:
    numbers = [column for column in columns if column.inferred.kind == "number"]
    for one, other in combinations(numbers[:MAX_NUMBERS], 2):
        for lower, upper in ((one, other), (other, one)):
            is_pair = _are_bounds(lower.name, upper.name)
            if is_pair and _is_at_most(lower.inferred, upper.inferred):
                yield flow(f"{_name(lower)} <= {_name(upper)}")


def _are_bounds(lower: str, upper: str) -> bool:
    """Whether two names differ in a word for a lower and an upper bound alone."""
    words, other_words = _words(lower), _words(upper)
    for low, high in NAME_PAIRS:
        if low not in words or high not in other_words:
            continue
        rest = [word for word in words if word != low]
        if rest == [word for word in other_words if word != high]:
            return True
    return False


def _words(name: str) -> list[str]:
    separated = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return re.findall(r"[^\W_]+", separated.lower())


def _is_at_most(lower: InferredColumn, upper: InferredColumn) -> bool:
    if lower.numbers is None or upper.numbers is None:
        return False
    present = ~np.isnan(lower.numbers) & ~np.isnan(upper.numbers)
    differences = upper.numbers[present] - lower.numbers[present]
    if len(differences) < FEWEST_PAIRS or differences.min() < 0:
        return False
    return bool(np.mean(differences > 0) >= FEWEST_SMALLER)


def _required_values(columns: Sequence[ProfiledColumn]) -> Iterator[str]:
    """Yield that a value is there where a category has the only value with which it ever is."""
    categories = []
    for column in columns:
        is_category = column.inferred.kind in ("category", "boolean")
        if is_category and len(column.inferred.values) <= MAX_VALUES:
            categories.append(column)
    for column in columns:
        is_missing = column.inferred.is_missing
        present_rows = int(np.count_nonzero(~is_missing))
        if min(present_rows, int(np.count_nonzero(is_missing))) < FEWEST_PAIRS:
            continue
        for category in categories:
            if category is column:
                continue
            codes = category.inferred.codes
            code = int(codes[np.flatnonzero(~is_missing)[0]])
            if code >= 0 and np.array_equal(codes == code, ~is_missing):
                value = _value(category.inferred.values[code], columns)
                if value is not None:
                    check = f"not missing({_name(column)})"
                    yield flow({"check": check, "when": f"{_name(category)} == {value}"})


def _name(column: ProfiledColumn) -> str:
    """Return a column as an expression names it."""
    return column.name if _is_word(column.name) else f"`{column.name}`"


def _value(value: str, columns: Sequence[ProfiledColumn]) -> str | None:
    """Return a value as an expression has it; None: it has both kinds of quotes."""
    names = {normalize_name(column.name) for column in columns}
    if _is_word(value) and normalize_name(value) not in names:
        return value
    for quote in "'\"":
        if quote not in value:
            return f"{quote}{value}{quote}"
    return None


def _is_word(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)
