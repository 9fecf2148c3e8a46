"""What one column was found to hold."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from creche.profile.dates import ISO_DATES, DateFormats
from creche.profile.distinct import MISSING_CODE
from creche.profile.numbers import PLAIN, NumberFormat

Kind = Literal["number", "boolean", "category", "date", "text", "empty", "nested", "bytes"]


@dataclass(frozen=True)
class InferredColumn:
    """What one column holds.

    Attributes:
        numbers: of a number, the number of each row; of a date, seconds since 1970 in UTC; NaN
            where there is none (n,).
        codes: position in `values` of each row's value, -1 where it is missing (n,). Of numbers and
            texts, the position of the distinct cell.
        values: of a category or boolean, its values in their canonical spelling.
        spellings: of a missing value, beside the usual ones.
        variants: value → its other spellings.
        is_ordered: whether the order of `values` is meant.
        has_words: whether most texts consist of several words.
        bad_rows: rows whose cell is of another kind; they would be quarantined.
    """

    header_name: str
    kind: Kind
    codes: np.ndarray
    values: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    spellings: tuple[str, ...] = ()
    stated_spellings: tuple[str, ...] = ()
    number_format: NumberFormat = PLAIN
    date_formats: DateFormats = ISO_DATES
    true_and_false: tuple[str, str] = ("", "")
    variants: dict[str, list[str]] = field(default_factory=dict)
    normalize: tuple[str, ...] = ()
    is_ordered: bool = False
    has_words: bool = False
    bad_rows: int = 0
    bad_cells: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.codes)

    @property
    def is_missing(self) -> np.ndarray:
        """Whether each row has no value (n,)."""
        if self.numbers is not None:
            return np.asarray(np.isnan(self.numbers))
        return np.asarray(self.codes == MISSING_CODE)

    @property
    def missing_rows(self) -> int:
        return int(np.count_nonzero(self.is_missing)) - self.bad_rows

    @property
    def are_whole(self) -> bool:
        """Whether all numbers of the column are whole."""
        if self.numbers is None:
            return False
        numbers = self.numbers[~np.isnan(self.numbers)]
        return bool(np.all(numbers == np.round(numbers)))

    @property
    def distinct_count(self) -> int:
        """Distinct values, a missing one not counted."""
        return len(np.unique(self.codes[self.codes != MISSING_CODE]))

    def counts(self) -> np.ndarray:
        """Return the rows of each of `values`."""
        present = self.codes[self.codes != MISSING_CODE]
        return np.bincount(present, minlength=len(self.values))
