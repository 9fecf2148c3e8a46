"""Every metric of a holdout with its 95 % interval."""

import numpy as np

from creche.evaluation.intervals import GroupBootstrap, Interval, share_interval
from creche.evaluation.metric_values import (
    STATISTICS,
    LabeledPredictions,
    MetricOptions,
)
from creche.evaluation.ranking import MAX_EDGES, RANKINGS
from creche.evaluation.statistic import Statistic
from creche.recipe import MetricName
from creche.records import MetricEstimate

WILSON = "Wilson"
BOOTSTRAP = "bootstrap of groups"


def metric_estimates(
    rows: LabeledPredictions, options: MetricOptions, groups: np.ndarray, classes: tuple[str, ...]
) -> dict[str, MetricEstimate]:
    """Return every metric that is defined, by name, and recall and precision of every class.

    Args:
        rows: the predictions of the holdout.
        options: of the recipe.
        groups: of each row (n,).
        classes: in the order of the class indices.
    """
    n = len(rows.actual)
    bootstrap = GroupBootstrap(groups)
    estimates = {"accuracy": _share_estimate(rows.actual == rows.predicted, groups)}
    for name, build in STATISTICS.items():
        if name in estimates or not options.has(name):
            continue
        statistic = build(rows, options)
        binned = None
        if name in RANKINGS:
            binned = build(rows, MetricOptions(options.cost, options.is_ordered, MAX_EDGES))
        interval = bootstrap.interval(statistic, binned)
        estimates[name] = _estimate(statistic.value(), interval, n, BOOTSTRAP)
    estimates.update(_class_estimates(rows, groups, classes))
    return estimates


def _class_estimates(
    rows: LabeledPredictions, groups: np.ndarray, classes: tuple[str, ...]
) -> dict[str, MetricEstimate]:
    """Return recall and precision of every class."""
    is_correct = rows.actual == rows.predicted
    estimates = {}
    for index, name in enumerate(classes):
        is_actual = rows.actual == index
        recall = _share_estimate(is_correct[is_actual], groups[is_actual])
        estimates[recall_name(name)] = recall
        is_predicted = rows.predicted == index
        precision = _share_estimate(is_correct[is_predicted], groups[is_predicted])
        estimates[precision_name(name)] = precision
    return estimates


def recall_name(class_name: str) -> str:
    """Return the name of a class's recall among the estimates."""
    return f"recall of {class_name}"


def precision_name(class_name: str) -> str:
    """Return the name of a class's precision among the estimates."""
    return f"precision of {class_name}"


def metric_value(
    name: MetricName, rows: LabeledPredictions, options: MetricOptions
) -> float | None:
    """Return the value of one metric; None where these rows do not define it."""
    return statistic_of(name, rows, options).value()


def statistic_of(name: MetricName, rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    """Return one metric as a function of totals over the rows."""
    return STATISTICS[name](rows, options)


def _share_estimate(is_hit: np.ndarray, groups: np.ndarray) -> MetricEstimate:
    value = float(is_hit.mean()) if len(is_hit) else None
    return _estimate(value, share_interval(is_hit, groups), len(is_hit), WILSON)


def _estimate(
    value: float | None, interval: Interval | None, rows: int, method: str
) -> MetricEstimate:
    if interval is None:
        return MetricEstimate(value=value, rows=rows)
    return MetricEstimate(
        value=value, low=interval.low, high=interval.high, rows=rows, interval=method
    )
