"""The paired comparison of challenger and champion on the same holdout rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from creche.gate.statistics import (
    difference_lower_limit,
    inferiority_p_value,
    mcnemar_p_value,
    minimum_detectable_difference,
)
from creche.recipe import Gate
from creche.records import (
    Comparison,
    MetricComparison,
    MetricSliceComparison,
    SliceComparison,
)


@dataclass(frozen=True)
class NotComparable:
    """Says that a model cannot be judged on a holdout, or be compared with another one there."""

    reason: str  # a clause, as in "version 1 was deleted"


def compare(
    challenger: np.ndarray,
    champion: np.ndarray,
    gate: Gate,
    has_new_training_groups: bool,
    slices: Mapping[str, np.ndarray] | None = None,
) -> Comparison:
    """Return the paired evidence on two models.

    Both predict the same rows, so only the rows on which they disagree say anything.

    Args:
        challenger: mask (n,) of the rows that the challenger predicts correctly.
        champion: the same of the champion.
        gate: level and margin of the tests.
        has_new_training_groups: whether the challenger was trained on groups that the champion was
            not.
        slices: name → mask (n,) of its rows.
    """
    n = len(challenger)
    only_challenger = challenger & ~champion
    only_champion = champion & ~challenger
    gained = int(only_challenger.sum())
    lost = int(only_champion.sum())
    slice_comparisons = []
    for name, mask in (slices or {}).items():
        comparison = _compare_slice(name, only_challenger[mask], only_champion[mask])
        slice_comparisons.append(comparison)
    return Comparison(
        rows=n,
        challenger_accuracy=float(challenger.mean()),
        champion_accuracy=float(champion.mean()),
        gained=gained,
        lost=lost,
        difference=(gained - lost) / n,
        difference_low=difference_lower_limit(gained, lost, n, gate.alpha),
        p_worse=mcnemar_p_value(lost, gained),
        p_better=mcnemar_p_value(gained, lost),
        p_inferior=inferiority_p_value(gained, lost, n, gate.margin),
        minimum_detectable_difference=minimum_detectable_difference(gained + lost, n, gate.alpha),
        has_new_training_groups=has_new_training_groups,
        slices=slice_comparisons,
    )


def _compare_slice(
    name: str, only_challenger: np.ndarray, only_champion: np.ndarray
) -> SliceComparison:
    """Return the evidence on the rows of one slice.

    Args:
        name: of the slice.
        only_challenger: mask (n,) of the slice's rows that the challenger alone predicts correctly.
        only_champion: the same of the champion.
    """
    gained = int(only_challenger.sum())
    lost = int(only_champion.sum())
    return SliceComparison(
        slice=name,
        rows=len(only_challenger),
        gained=gained,
        lost=lost,
        p_worse=mcnemar_p_value(lost, gained),
    )


def worst_slice(
    comparison: Comparison | MetricComparison, alpha: float
) -> SliceComparison | MetricSliceComparison | None:
    """Return the slice on which the challenger is shown to be worse.

    All slices share the level of the test (Bonferroni).
    """
    if not comparison.slices:
        return None
    slices: list[SliceComparison | MetricSliceComparison] = [*comparison.slices]
    worst = min(slices, key=lambda slice_comparison: slice_comparison.p_worse)
    if worst.p_worse < alpha / len(comparison.slices):
        return worst
    return None
