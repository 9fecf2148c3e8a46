"""A metric as a function of totals over the rows, so that many resamples are computed at once.

Each row adds a few numbers to the totals, such as a row of its class and a correct one of it, and
the metric is a function of the totals. A resample of groups is then a weight for each group, and
the totals of all resamples are one matrix product. The gradient by the totals gives what each
group contributes to the metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

# Of the sum of the absolute contributions to a total: the step of the numerical gradient.
GRADIENT_STEP = 1e-4

# Totals (t, B) → values (B,), NaN where the metric is not defined.
OfTotals = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """One of the numbers whose mean a metric is; most metrics have one part.

    Attributes:
        contributions: sparse (t, n) of each row to each total.
        of_totals: the function of the totals.
    """

    contributions: sparse.csr_array
    of_totals: OfTotals

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Return the value (B,) for each column of the weights (n, B)."""
        return self.of_totals(self.contributions @ weights)

    def influence(self) -> np.ndarray:
        """Return what each column of the contributions (n,) adds to the value, to first order."""
        totals = np.asarray(self.contributions.sum(axis=1))  # (t,)
        sizes = np.asarray(abs(self.contributions).sum(axis=1))
        # A total to which no row adds anything has no influence.
        touched = np.flatnonzero(sizes)
        steps = sizes[touched] * GRADIENT_STEP
        changed = np.tile(totals[:, None], (1, len(touched)))
        columns = np.arange(len(touched))
        changed[touched, columns] += steps
        above = self.of_totals(changed)
        changed[touched, columns] -= 2 * steps
        below = self.of_totals(changed)
        gradient = np.zeros(len(totals))
        gradient[touched] = (above - below) / (2 * steps)
        influence: np.ndarray = self.contributions.T @ gradient
        return influence


@dataclass(frozen=True)
class Statistic:
    """The mean of its parts, of those that are defined."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, contributions: Sequence[sparse.csr_array], of_totals: OfTotals) -> "Statistic":
        """Return the statistic of one part.

        Args:
            contributions: (t, n) of each row to each total, for some of the totals each.
            of_totals: the function of the totals.
        """
        return cls((Part(sparse.csr_array(sparse.vstack(contributions)), of_totals),))

    def by_group(self, membership: sparse.csr_array) -> "Statistic":
        """Return the same statistic whose columns are groups.

        Args:
            membership: (n, groups), 1 where a row belongs to a group.
        """
        parts = []
        for part in self.parts:
            parts.append(Part(sparse.csr_array(part.contributions @ membership), part.of_totals))
        return Statistic(tuple(parts))

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Return the value (B,) for each column of the weights (n, B); NaN where no part is
        defined.
        """
        total = np.zeros(weights.shape[1])
        defined = np.zeros(weights.shape[1])
        # One part after the other: each of many classes would otherwise have its totals in memory.
        for part in self.parts:
            values = part.values(weights)
            is_defined = ~np.isnan(values)
            total += np.where(is_defined, values, 0.0)
            defined += is_defined
        with np.errstate(invalid="ignore"):
            return total / defined

    def value(self) -> float | None:
        """Return the value for all rows; None where it is not defined."""
        columns = self.parts[0].contributions.shape[1]
        value = float(self.values(np.ones((columns, 1)))[0])
        return None if np.isnan(value) else value

    def influence(self) -> np.ndarray:
        """Return what each column (n,) adds to the value, to first order; their sum is 0."""
        columns = self.parts[0].contributions.shape[1]
        ones = np.ones((columns, 1))
        influences = []
        for part in self.parts:
            if not np.isnan(part.values(ones)[0]):
                influences.append(part.influence())
        influence: np.ndarray = np.mean(influences, axis=0)
        return influence


def membership(groups: np.ndarray) -> sparse.csr_array:
    """Return the matrix (n, groups) with 1 where a row belongs to a group.

    Args:
        groups: of each row (n,), any values.
    """
    _, codes = np.unique(groups, return_inverse=True)
    n = len(codes)
    return sparse.csr_array((np.ones(n), (np.arange(n), codes)))
