"""Metrics of a ranking of rows, of one class against the rest."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from creche.evaluation.statistic import OfTotals, Part, Statistic

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
        bins = _bins(class_scores, is_positive, max_edges)  # (n,)
        count = int(bins.max()) + 1
        row_of_totals = np.where(is_positive, bins, count + bins)
        contributions = sparse.csr_array(
            (np.ones(len(bins)), (row_of_totals, np.arange(len(bins)))),
            shape=(2 * count, len(bins)),
        )
        parts.append(Part(contributions, of_totals))
    return Statistic(tuple(parts))


def _bins(scores: np.ndarray, is_positive: np.ndarray, max_edges: int | None) -> np.ndarray:
    """Return the bin (n,) of each score, ascending with it.

    Each edge is a bin of its own, and so is what lies between two of them.
    """
    edges = []
    for mask in (is_positive, ~is_positive):
        distinct = np.unique(scores[mask])
        if max_edges is not None and len(distinct) > max_edges:
            levels = np.linspace(0, 1, max_edges)
            distinct = np.unique(np.quantile(scores[mask], levels, method="nearest"))
        edges.append(distinct)
    all_edges = np.union1d(*edges)
    bins = np.searchsorted(all_edges, scores) + np.searchsorted(all_edges, scores, "right")
    _, codes = np.unique(bins, return_inverse=True)
    compact: np.ndarray = codes
    return compact


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
