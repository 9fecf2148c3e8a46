"""Checks of `gate.metrics`, `gate.precision` and of classes with few holdout rows."""

import pytest
from support.evaluations import evaluation

from creche.gate import decide, run_checks
from creche.recipe import Gate
from creche.records import CheckResult, ClassMetrics, Evaluation, MetricEstimate

GATE = Gate(
    slices={"island": 0.8},
    precision=0.6,
    metrics={"macro_f1": 0.7, "log_loss": 0.5, "roc_auc": 0.9},
)


def estimate(value: float | None, rows: int = 60) -> MetricEstimate:
    if value is None:
        return MetricEstimate(value=None, rows=rows)
    return MetricEstimate(value=value, low=value - 0.1, high=value + 0.1, rows=rows)


def measured(**changes: MetricEstimate) -> Evaluation:
    metrics = {
        "macro_f1": estimate(0.8),
        "log_loss": estimate(0.4),
        "roc_auc": estimate(0.95),
        "precision of Adelie": estimate(0.9),
        "precision of Gentoo": estimate(0.9),
    }
    names = {name.replace("_of_", " of "): value for name, value in changes.items()}
    return evaluation(metrics={**metrics, **names})


def named(evaluation: Evaluation, name: str) -> CheckResult:
    (check,) = (check for check in run_checks(evaluation, GATE) if check.name == name)
    return check


def test_metrics_within_their_thresholds_pass() -> None:
    assert decide(measured(), GATE, None).verdict == "PROMOTE"
    check = named(measured(), "log loss")
    assert (check.value, check.threshold, check.direction) == (0.4, 0.5, "max")
    assert named(measured(), "macro F1").direction == "min"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"macro_f1": estimate(0.6)},
            "Macro F1 0.6 (95 % interval 0.5 to 0.7) is below its threshold 0.7.",
        ),
        (
            {"log_loss": MetricEstimate(value=0.6, rows=60)},
            "Log loss 0.6 is above its threshold 0.5.",
        ),
        (
            {"roc_auc": estimate(None)},
            "ROC AUC is not defined on this holdout, which lacks a class: add such rows to the "
            "data, or choose a larger split.holdout or another split.seed.",
        ),
        (
            {"precision_of_Gentoo": estimate(0.5)},
            "Precision of Gentoo is 50.0% of 60 rows that are predicted so, below the threshold of "
            "60.0%.",
        ),
        (
            {"precision_of_Gentoo": estimate(None, rows=0)},
            "No holdout row is predicted as Gentoo, so nothing is known of the precision of that "
            "class: add rows of it to the data, or train with training.class_weights or decision.",
        ),
        (
            {"precision_of_Gentoo": estimate(0.5, rows=8)},
            "Precision of Gentoo is 50.0% of 8 rows that are predicted so, below the threshold of "
            "60.0%: the holdout has 8 rows predicted as Gentoo only, so it may be 40.0% to 60.0% "
            "(95 % confidence).",
        ),
    ],
)
def test_metric_beyond_its_threshold_rejects(
    changes: dict[str, MetricEstimate], reason: str
) -> None:
    verdict = decide(measured(**changes), GATE, None)
    assert (verdict.verdict, verdict.reason) == ("REJECT", reason)


def test_check_of_few_rows_says_so_whether_it_passes_or_not() -> None:
    recall = MetricEstimate(value=0.95, low=0.6, high=0.99, rows=9)
    check = named(measured(recall_of_Gentoo=recall), "recall of Gentoo")
    assert check.passed
    assert check.note == (
        "the holdout has 9 Gentoo rows only, so it may be 60.0% to 99.0% (95 % confidence)"
    )
    per_class = {"Gentoo": ClassMetrics(rows=9, precision=1.0, recall=0.5)}
    failed = measured(recall_of_Gentoo=recall).model_copy(update={"per_class": per_class})
    assert decide(failed, GATE, None).reason == (
        "Recall of Gentoo is 50.0% of 9 rows, below the threshold of 80.0%: the holdout has 9 "
        "Gentoo rows only, so it may be 60.0% to 99.0% (95 % confidence)."
    )
    assert named(measured(), "recall of Gentoo").note is None
