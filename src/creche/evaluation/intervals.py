"""95 % intervals of metrics, where rows of one group may be alike.

Shares of rows (accuracy, recall, precision) have Wilson's interval; where groups have several rows,
of as many independent rows as theirs are worth. All other metrics have the percentile interval of
a bootstrap that draws whole groups.

References:
    Korn and Graubard (1998), Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data, Survey Methodology 24:193-201: the effective number
    of rows. Field and Welsh (2007), Bootstrapping clustered data, Journal of the Royal Statistical
    Society B 69:369-390: the bootstrap of groups.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import norm

from creche.evaluation.statistic import Statistic

CONFIDENCE = 0.95
SEED = 0
MAX_RESAMPLES = 1000
MIN_RESAMPLES = 200
# Entries of the contributions times resamples that are computed within half a second or so.
MAX_PRODUCTS = 4e7
# More groups are drawn in blocks of several, at random: their sums vary as those of groups do.
MAX_BLOCKS = 4096


class Interval(NamedTuple):
    """The limits of a 95 % interval."""

    low: float
    high: float


def share_interval(is_hit: np.ndarray, groups: np.ndarray) -> Interval | None:
    """Return the interval of the share of rows that are hits; None where there is no row.

    Args:
        is_hit: mask (n,).
        groups: of each row (n,).
    """
    if not len(is_hit):
        return None
    _, codes = np.unique(groups, return_inverse=True)
    share = float(is_hit.mean())
    rows = _effective_rows(is_hit, codes, share)
    z = float(norm.isf((1 - CONFIDENCE) / 2))
    center = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half_width = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    return Interval(max(0.0, center - half_width), min(1.0, center + half_width))


def _effective_rows(is_hit: np.ndarray, codes: np.ndarray, share: float) -> float:
    """Return how many independent rows tell as much about the share as these do."""
    n = len(is_hit)
    sizes = np.bincount(codes)
    count = len(sizes)
    if count == n:
        return n
    if count == 1 or share in (0.0, 1.0):
        # Whether the rows of a group are alike cannot be seen, so each group counts as one.
        return count
    deviations = np.bincount(codes, is_hit) - share * sizes
    variance = count / (count - 1) * float((deviations**2).sum()) / n**2
    design_effect = variance / (share * (1 - share) / n)
    return n / max(1.0, design_effect)


class GroupBootstrap:
    """Resamples of the groups of a holdout, the same for all of its metrics."""

    def __init__(self, groups: np.ndarray, products: float = MAX_PRODUCTS) -> None:
        """Draw the resamples, from a fixed seed.

        Args:
            groups: of each row (n,).
            products: how many are worth computing for one statistic.
        """
        generator = np.random.default_rng(SEED)
        _, codes = np.unique(groups, return_inverse=True)
        count = int(codes.max()) + 1
        if count > MAX_BLOCKS:
            codes = generator.permutation(count)[codes] % MAX_BLOCKS
            count = MAX_BLOCKS
        n = len(codes)
        self._products = products
        self._blocks = sparse.csr_array((np.ones(n), (np.arange(n), codes)), shape=(n, count))
        drawn = generator.integers(0, count, size=(MAX_RESAMPLES, count), dtype=np.int32)
        drawn += count * np.arange(MAX_RESAMPLES, dtype=np.int32)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=MAX_RESAMPLES * count)
        # (blocks, resamples): how often each block is drawn.
        self._weights = weights.reshape(MAX_RESAMPLES, count).T.astype(np.float64)

    def interval(self, statistic: Statistic, binned: Statistic | None = None) -> Interval | None:
        """Return the percentile interval of a statistic.

        Args:
            statistic: of the rows.
            binned: nearly the same one, of fewer totals, whose deviations are taken.

        Returns:
            None where the statistic has no value, or the same in all resamples: they then do not
            show how it varies.
        """
        value = statistic.value()
        if value is None:
            return None
        resampled = (binned or statistic).by_group(self._blocks)
        entries = sum(part.contributions.nnz for part in resampled.parts)
        resamples = int(np.clip(self._products / entries, MIN_RESAMPLES, MAX_RESAMPLES))
        values = resampled.values(self._weights[:, :resamples])
        values = values[~np.isnan(values)]
        if not len(values) or np.ptp(values) == 0:
            return None
        if binned is not None:
            values += value - (binned.value() or 0.0)
        tail = 50 * (1 - CONFIDENCE)  # percent
        low, high = np.percentile(values, [tail, 100 - tail])
        return Interval(float(low), float(high))
