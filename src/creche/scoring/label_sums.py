"""Sums over rows whose label is known, from which the figures of `creche.scoring.label_figures`
follow.

They are whole numbers, so that neither the order of the rows nor the size of the blocks shows in
them: a scoring that was resumed, or done on a cluster, gives the same ones to the last digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BINS = 10  # of the highest probability, equal in width, as in `creche.evaluation.metrics`
# As `creche.evaluation.metric_values`, so that a probability of 0 has a finite loss.
MIN_PROBABILITY = float(np.finfo(np.float64).eps)
# Losses and probabilities are counted in units of 2 ** -36: the largest loss of 3 million rows
# fits into an int64, and a mean is off by less than 1e-11.
UNITS = 1 << 36


@dataclass
class LabelSums:
    """Sums over rows whose label is known, of K classes."""

    # Actual class × (K + 1) + predicted class → rows; the predicted class is K where the row is
    # predicted as unknown. It has the pairs that occur, since a thousand classes have a million.
    confusion: dict[int, int] = field(default_factory=dict)
    other_rows: int = 0  # that state a label which is none of the classes
    log_loss: int = 0  # units
    squared_error: int = 0  # units, summed over the classes
    bin_rows: list[int] = field(default_factory=lambda: [0] * BINS)
    bin_correct: list[int] = field(default_factory=lambda: [0] * BINS)
    bin_confidence: list[int] = field(default_factory=lambda: [0] * BINS)  # units

    @classmethod
    def of_rows(
        cls, actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray
    ) -> "LabelSums":
        """Return the sums over n rows.

        Args:
            actual: class indices (n,).
            predicted: class indices (n,); K where a row is predicted as unknown.
            probabilities: (n, K) float32; NaN where a row is unknown, taken as uniform.
        """
        class_count = probabilities.shape[1]
        pairs = np.bincount(actual.astype(np.int64) * (class_count + 1) + predicted)
        occurring = np.flatnonzero(pairs)
        known = np.nan_to_num(probabilities.astype(np.float64), nan=1 / class_count)
        known /= known.sum(axis=1, keepdims=True)
        of_actual = known[np.arange(len(actual)), actual]
        losses = -np.log(np.maximum(of_actual, MIN_PROBABILITY))
        # The square of the difference to 1 for the actual class, and to 0 for all others.
        squares = (known**2).sum(axis=1) - 2 * of_actual + 1
        confidence = known.max(axis=1)
        bin_indices = np.minimum((confidence * BINS).astype(int), BINS - 1)
        bin_confidence = np.zeros(BINS, np.int64)
        np.add.at(bin_confidence, bin_indices, _in_units(confidence))
        bin_correct = np.bincount(bin_indices[actual == predicted], minlength=BINS)
        return cls(
            confusion=dict(zip(occurring.tolist(), pairs[occurring].tolist(), strict=True)),
            log_loss=int(_in_units(losses).sum()),
            squared_error=int(_in_units(squares).sum()),
            bin_rows=np.bincount(bin_indices, minlength=BINS).tolist(),
            bin_correct=bin_correct.tolist(),
            bin_confidence=bin_confidence.tolist(),
        )

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> "LabelSums":
        """Return the sums that were written as JSON, whose keys are texts.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: they are none.
        """
        confusion = {int(pair): rows for pair, rows in stated["confusion"].items()}
        return cls(**{**stated, "confusion": confusion})

    def add(self, other: "LabelSums") -> None:
        """Add the sums over other rows."""
        for pair, rows in other.confusion.items():
            self.confusion[pair] = self.confusion.get(pair, 0) + rows
        self.other_rows += other.other_rows
        self.log_loss += other.log_loss
        self.squared_error += other.squared_error
        for own, others in (
            (self.bin_rows, other.bin_rows),
            (self.bin_correct, other.bin_correct),
            (self.bin_confidence, other.bin_confidence),
        ):
            for i, number in enumerate(others):
                own[i] += number


def _in_units(values: np.ndarray) -> np.ndarray:
    units: np.ndarray = np.rint(values * UNITS).astype(np.int64)
    return units
