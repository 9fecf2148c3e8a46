"""The distinct cells of a column that are no missing values."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from creche.profile import missing
from creche.profile.distinct import MISSING_CODE, DistinctCells

SHOWN_CELLS = 3  # of another kind, in a message


@dataclass(frozen=True)
class PresentCells:
    """The distinct cells of a column that are no missing values.

    Attributes:
        spellings: of a missing value, beside the usual ones.
        positions: among all distinct cells (k,).
        texts: the cells (k,).
        counts: rows of each (k,).
    """

    distinct: DistinctCells
    spellings: tuple[str, ...]
    positions: np.ndarray
    texts: pa.Array
    counts: np.ndarray

    @classmethod
    def of(cls, distinct: DistinctCells, spellings: tuple[str, ...]) -> "PresentCells":
        """Return the cells that are neither usual spellings of a missing value nor these."""
        positions = np.flatnonzero(~missing.missing_mask(distinct, spellings))
        texts = distinct.texts.take(pa.array(positions))
        return cls(distinct, spellings, positions, texts, distinct.counts[positions])

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    @property
    def stated_spellings(self) -> tuple[str, ...]:
        """What `missing_values` must list; empty where the usual spellings are enough."""
        return missing.stated_spellings(self.distinct, self.spellings)

    def numbers_by_row(self, numbers: np.ndarray) -> np.ndarray:
        """Return the number of each row, NaN where it has none (n,).

        Args:
            numbers: of each of the cells (k,).
        """
        # The last entry is for rows without a cell.
        by_code = np.full(len(self.distinct.texts) + 1, np.nan)
        by_code[self.positions] = numbers
        return np.asarray(by_code[self.distinct.codes])

    def codes_by_row(self, codes: np.ndarray | None = None) -> np.ndarray:
        """Return the code of each row, -1 where it has none (n,).

        Args:
            codes: of each of the cells (k,); by default their positions.
        """
        by_code = np.full(len(self.distinct.texts) + 1, MISSING_CODE)
        by_code[self.positions] = self.positions if codes is None else codes
        return np.asarray(by_code[self.distinct.codes])

    def examples(self, is_shown: np.ndarray) -> tuple[str, ...]:
        """Return some of the cells of a mask (k,)."""
        texts: list[str] = self.texts.filter(pa.array(is_shown)).slice(0, SHOWN_CELLS).to_pylist()
        return tuple(texts)
