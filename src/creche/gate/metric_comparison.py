"""The paired comparison of challenger and champion by a metric other than accuracy."""

from collections.abc import Mapping

from creche.gate.metric_statistics import PairedMetric
from creche.recipe import METRICS, Gate
from creche.records import MetricComparison, MetricSliceComparison


def compare_metric(
    paired: PairedMetric,
    gate: Gate,
    has_new_training_groups: bool,
    slices: Mapping[str, PairedMetric] | None = None,
) -> MetricComparison:
    """Return the paired evidence on two models by `gate.primary`.

    Args:
        paired: of the whole holdout.
        gate: metric, level and margin of the tests.
        has_new_training_groups: whether the challenger was trained on groups that the champion was
            not.
        slices: name → the same of its rows.
    """
    contributions = paired.contributions
    slice_comparisons = []
    for name, part in (slices or {}).items():
        slice_comparisons.append(
            MetricSliceComparison(
                slice=name,
                rows=part.rows,
                challenger=part.challenger,
                champion=part.champion,
                p_worse=part.p_worse(),
            )
        )
    return MetricComparison(
        metric=gate.primary,
        direction=METRICS[gate.primary].direction,
        rows=paired.rows,
        groups=len(contributions.of_groups),
        challenger=paired.challenger,
        champion=paired.champion,
        difference=contributions.difference,
        difference_low=paired.with_adverse_rows.lower_limit(gate.alpha),
        p_worse=paired.p_worse(),
        p_better=paired.p_better(),
        p_inferior=paired.p_inferior(gate.margin),
        minimum_detectable_difference=contributions.minimum_detectable_difference(gate.alpha),
        has_new_training_groups=has_new_training_groups,
        slices=slice_comparisons,
    )
