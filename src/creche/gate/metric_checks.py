"""The checks of metrics that the recipe names, and of recall and precision of every class."""

from collections.abc import Iterator
from typing import Literal

from creche.gate.check import ADD_HOLDOUT_ROWS, Check
from creche.recipe import METRICS, Gate
from creche.records import Evaluation, MetricEstimate

FEW_ROWS = 50  # of which a recall of 90 % has an interval of some 17 points


def metric_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    """Yield the check of every metric under `gate.metrics`."""
    for name, threshold in gate.metrics.items():
        definition = METRICS[name]
        estimate = evaluation.metrics.get(name)
        value = estimate.value if estimate else None
        # The best value is the largest one where the threshold is the least one.
        direction: Literal["min", "max"] = "min" if definition.direction == "max" else "max"
        relation = "below" if direction == "min" else "above"

        def explain(
            title: str = definition.title,
            estimate: MetricEstimate | None = estimate,
            relation: str = relation,
            threshold: float = threshold,
        ) -> str:
            if estimate is None or estimate.value is None:
                return (
                    f"{title} is not defined on this holdout, which lacks a class: "
                    f"{ADD_HOLDOUT_ROWS}"
                )
            interval = ""
            if estimate.low is not None:
                interval = f" (95 % interval {estimate.low:.4g} to {estimate.high:.4g})"
            return (
                f"{title} {estimate.value:.4g}{interval} is {relation} its threshold {threshold:g}"
            )

        yield Check(definition.title, value, threshold, direction, explain)


def recall_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    """Yield the check of the recall of every class."""
    for name, metrics in evaluation.per_class.items():
        if metrics.recall is None and gate.recall == 0:
            # Whatever the recall of that class is, it reaches 0.
            continue

        def explain(
            name: str = name, recall: float | None = metrics.recall, rows: int = metrics.rows
        ) -> str:
            if recall is None:
                return (
                    f"the holdout has no {name} row, so nothing is known of that class: "
                    f"{ADD_HOLDOUT_ROWS}"
                )
            return (
                f"recall of {name} is {recall:.1%} of {rows} rows, below the threshold of "
                f"{gate.recall:.1%}"
            )

        check_name = f"recall of {name}"
        note = _note_of_few_rows(evaluation.metrics.get(check_name), f"{name} rows")
        yield Check(check_name, metrics.recall, gate.recall, "min", explain, note)


def precision_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    """Yield the check of the precision of every class, where the recipe states a threshold."""
    threshold = gate.precision
    if threshold is None:
        return
    for name in evaluation.per_class:
        check_name = f"precision of {name}"
        estimate = evaluation.metrics.get(check_name)
        value = estimate.value if estimate else None

        def explain(name: str = name, estimate: MetricEstimate | None = estimate) -> str:
            if estimate is None or estimate.value is None:
                return (
                    f"no holdout row is predicted as {name}, so nothing is known of the precision "
                    "of that class: add rows of it to the data, or train with "
                    "training.class_weights or decision"
                )
            return (
                f"precision of {name} is {estimate.value:.1%} of {estimate.rows} rows that are "
                f"predicted so, below the threshold of {threshold:.1%}"
            )

        note = _note_of_few_rows(estimate, f"rows predicted as {name}")
        yield Check(check_name, value, threshold, "min", explain, note)


def _note_of_few_rows(estimate: MetricEstimate | None, rows_in_words: str) -> str | None:
    """Return how little so few rows tell; None where they are enough."""
    if estimate is None or estimate.low is None or estimate.rows >= FEW_ROWS:
        return None
    return (
        f"the holdout has {estimate.rows} {rows_in_words} only, so it may be {estimate.low:.1%} "
        f"to {estimate.high:.1%} (95 % confidence)"
    )
