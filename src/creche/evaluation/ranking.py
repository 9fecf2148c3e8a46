"""Metrics of a ranking of rows, of one class against the rest."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from creche.evaluation.statistic import OfTotals, Part, Statistic
from creche.recipe import MetricName

# Scores of positives and of negatives by which resamples of a ranking are binned.
MAX_EDGES = 128


def ranking(
    actual: np.ndarray, scores: Sequence[np.ndarray], of_totals: OfTotals, max_edges: int | None
) -> Statistic:
    """Return the mean over the classes of a metric of one class against the rest.

    Args:
        actual: class indices (n,).
        scores: of each class, by what the rows (n,) are ranked, the largest first.
        of_totals: the metric, of the positives of each bin, and the negatives.
        max_edges: by how many scores of each side the rows are binned; None: by all.
    """
    parts = []
    for index, class_scores in enumerate(scores):
        is_positive = actual == index
        edges = _edges(class_scores, is_positive, max_edges)
        bins, count = _bins([class_scores], edges)
        parts.append(_part(bins[0], count, is_positive, of_totals))
    return Statistic(tuple(parts))


def paired_rankings(
    actual: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    of_totals: OfTotals,
    max_edges: int | None,
) -> tuple[Statistic, Statistic]:
    """Return the rankings of two models as functions of the same totals.

    Ranks take the place of the scores, so that what one model calls 0.9 is no more than what the
    other one ranks as high (Venkatraman and Begg, 1996, A distribution-free procedure for comparing
    receiver operating characteristic curves from a paired experiment, Biometrika 83:835-848).

    Args:
        actual: class indices (n,).
        first: scores of each class (n,), of one model.
        second: the same of the other.
        of_totals: as of `ranking`.
        max_edges: as of `ranking`.
    """
    parts: tuple[list[Part], list[Part]] = ([], [])
    for index, pair in enumerate(zip(first, second, strict=True)):
        is_positive = actual == index
        ranks = [rankdata(class_scores) for class_scores in pair]
        edges = _edges(np.concatenate(ranks), np.tile(is_positive, 2), max_edges)
        bins, count = _bins(ranks, edges)
        for own_bins, own_parts in zip(bins, parts, strict=True):
            own_parts.append(_part(own_bins, count, is_positive, of_totals))
    return Statistic(tuple(parts[0])), Statistic(tuple(parts[1]))


def _part(bins: np.ndarray, count: int, is_positive: np.ndarray, of_totals: OfTotals) -> Part:
    """Return the metric as a function of the positives of each bin, and the negatives."""
    n = len(bins)
    row_of_totals = np.where(is_positive, bins, count + bins)
    contributions = sparse.csr_array(
        (np.ones(n), (row_of_totals, np.arange(n))), shape=(2 * count, n)
    )
    return Part(contributions, of_totals)


def _edges(scores: np.ndarray, is_positive: np.ndarray, max_edges: int | None) -> np.ndarray:
    """Return the scores (e,) that are a bin of their own, ascending."""
    edges = []
    for mask in (is_positive, ~is_positive):
        distinct = np.unique(scores[mask])
        if max_edges is not None and len(distinct) > max_edges:
            levels = np.linspace(0, 1, max_edges)
            distinct = np.unique(np.quantile(scores[mask], levels, method="nearest"))
        edges.append(distinct)
    return np.union1d(*edges)


def _bins(scores: Sequence[np.ndarray], edges: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Return the bin (n,) of each score of every ranking, ascending with it, and their number.

    What lies between two edges is a bin too.
    """
    n = len(scores[0])
    together = np.concatenate(scores)
    bins = np.searchsorted(edges, together) + np.searchsorted(edges, together, "right")
    # Bins without a score are left out.
    present, codes = np.unique(bins, return_inverse=True)
    return np.split(codes, np.arange(n, len(together), n)), len(present)


def _positives_and_negatives(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both (bins, B), the bins of highest score first."""
    count = len(totals) // 2
    return totals[:count][::-1], totals[count:][::-1]


def area_under_roc(totals: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve (B,) of totals (2 · bins, B)."""
    positives, negatives = _positives_and_negatives(totals)
    # A pair in one bin is half a pair in the right order.
    ranked_above = np.cumsum(positives, axis=0) - positives / 2
    pairs = positives.sum(axis=0) * negatives.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, (ranked_above * negatives).sum(axis=0) / pairs, np.nan)


def average_of_precision(totals: np.ndarray) -> np.ndarray:
    """Return the average precision (B,) of totals (2 · bins, B)."""
    positives, negatives = _positives_and_negatives(totals)
    found = np.cumsum(positives, axis=0)
    selected = found + np.cumsum(negatives, axis=0)
    total = positives.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(selected > 0, found / selected, 0.0)
        # Without a negative there is nothing to rank.
        is_defined = (total > 0) & (negatives.sum(axis=0) > 0)
        return np.where(is_defined, (precision * positives).sum(axis=0) / total, np.nan)


# Metrics of a ranking, of the positives of each bin, and the negatives.
RANKINGS: dict[MetricName, OfTotals] = {
    "roc_auc": area_under_roc,
    "average_precision": average_of_precision,
}
