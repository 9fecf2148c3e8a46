"""The reasons of verdicts by a metric other than accuracy, in words."""

from creche.gate.statistics import POWER
from creche.recipe import METRICS, Gate
from creche.records import MetricComparison, MetricSliceComparison


def worse(comparison: MetricComparison) -> str:
    return (
        f"it is worse than the champion: {_facts(comparison)} "
        f"(paired test by group, p = {comparison.p_worse:.2g})"
    )


def worse_on_slice(poor: MetricSliceComparison, comparison: MetricComparison) -> str:
    return (
        f"it is worse than the champion on rows with {poor.slice}: on {poor.rows} of them its "
        f"{_title(comparison)} is {poor.challenger:.4g}, and the champion's {poor.champion:.4g} "
        f"(paired test by group, p = {poor.p_worse:.2g}, {len(comparison.slices)} slices compared)"
    )


def better(comparison: MetricComparison) -> str:
    return (
        f"it is better than the champion: {_facts(comparison)} "
        f"(paired test by group, p = {comparison.p_better:.2g})"
    )


def not_worse_with_new_groups(comparison: MetricComparison, gate: Gate) -> str:
    return (
        "it is no worse than the champion, and was trained on rows that the champion was not: "
        f"{_facts(comparison)}, so {_bound(comparison, gate)}, within the margin of "
        f"{gate.margin:g} (p = {comparison.p_inferior:.2g})"
    )


def not_worse_on_same_groups(comparison: MetricComparison) -> str:
    return (
        "it is no worse than the champion, but not shown to be better, and was trained on no rows "
        f"but the champion's: {_facts(comparison)}; {_detectable(comparison)}"
    )


def holdout_cannot_tell(comparison: MetricComparison, gate: Gate) -> str:
    return (
        f"this holdout cannot tell: {_facts(comparison)}, so {_bound(comparison, gate)} "
        f"(p = {comparison.p_inferior:.2g} for a margin of {gate.margin:g}); "
        f"{_detectable(comparison)}"
    )


def _title(comparison: MetricComparison) -> str:
    for name, definition in METRICS.items():
        if name == comparison.metric:
            return definition.title
    return comparison.metric


def _facts(comparison: MetricComparison) -> str:
    return (
        f"on {comparison.rows} holdout rows its {_title(comparison)} is {comparison.challenger:.4g}"
        f", and the champion's {comparison.champion:.4g}"
    )


def _bound(comparison: MetricComparison, gate: Gate) -> str:
    if comparison.difference_low is None:
        return "how much worse it may be cannot be said"
    worse_by = max(-comparison.difference_low, 0)
    side = "below" if comparison.direction == "max" else "above"
    return f"it may lie {worse_by:.3g} {side} at {1 - gate.alpha:.0%} confidence"


def _detectable(comparison: MetricComparison) -> str:
    difference = comparison.minimum_detectable_difference
    if difference is None:
        return (
            "which difference would have been shown cannot be said, for the models do not differ "
            "on these rows"
        )
    return f"a difference of {difference:.3g} would have been shown {POWER:.0%} of the time"
