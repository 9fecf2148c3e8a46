"""Count the cells of a column over the whole table, block by block."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from creche.contract.cells import spell_text
from creche.profile import categories, missing
from creche.profile.dates import parse_dates
from creche.profile.distinct import DistinctCells
from creche.profile.inferred_column import InferredColumn
from creche.profile.numbers import parse_numbers

MAX_COUNTED = 20_000  # distinct values of a category that are counted one by one


@dataclass
class CellCounts:
    """The cells of one column.

    Attributes:
        bad: rows whose cell is neither missing nor of the column's kind.
        smallest: number, or seconds since 1970 of a date; infinite where there is none.
        by_value: value of a category → rows.
        has_more: whether there are more values than are counted.
    """

    rows: int = 0
    missing: int = 0
    bad: int = 0
    smallest: float = np.inf
    largest: float = -np.inf
    by_value: dict[str, int] = field(default_factory=dict)
    has_more: bool = False

    @property
    def missing_share(self) -> float:
        """Fraction of the rows, 0..1."""
        return self.missing / max(self.rows, 1)

    @property
    def has_range(self) -> bool:
        return self.smallest <= self.largest

    def add(self, distinct: DistinctCells, column: InferredColumn) -> None:
        """Count some further rows.

        Args:
            distinct: their cells.
            column: what the column was found to hold.
        """
        self.rows += distinct.rows
        spellings = tuple(each.lower() for each in column.spellings)
        is_missing = missing.missing_mask(distinct, spellings)
        self.missing += int(distinct.counts[is_missing].sum()) + distinct.null_rows
        kept = np.flatnonzero(~is_missing)
        texts = distinct.texts.take(pa.array(kept))
        counts = distinct.counts[kept]
        if column.kind == "number":
            self._add_numbers(parse_numbers(texts, column.number_format), counts)
        elif column.kind == "date":
            self._add_numbers(parse_dates(texts, column.date_formats.formats), counts)
        elif column.kind in ("category", "boolean"):
            self._add_values(texts.to_pylist(), counts.tolist(), column)

    def _add_numbers(self, numbers: np.ndarray, counts: np.ndarray) -> None:
        is_bad = np.isnan(numbers)
        self.bad += int(counts[is_bad].sum())
        good = numbers[~is_bad]
        if len(good):
            self.smallest = min(self.smallest, float(good.min()))
            self.largest = max(self.largest, float(good.max()))

    def _add_values(self, texts: list[str], counts: list[int], column: InferredColumn) -> None:
        canonical_by_fold = {}
        for value, others in column.variants.items():
            for spelling in (value, *others):
                canonical_by_fold[categories.folded(spelling)] = value
        for text, count in zip(texts, counts, strict=True):
            value = spell_text(text)
            if column.kind == "boolean":
                value = _truth_value(text, column)
            elif canonical_by_fold:
                value = canonical_by_fold.get(categories.folded(value), value)
            if not value:
                self.bad += count
            elif value in self.by_value or len(self.by_value) < MAX_COUNTED:
                self.by_value[value] = self.by_value.get(value, 0) + count
            else:
                self.has_more = True


def _truth_value(text: str, column: InferredColumn) -> str:
    spellings = dict(zip(column.true_and_false, ("true", "false"), strict=True))
    return spellings.get(text.lower(), "")
