"""Evaluations that pass every check, to be changed by a test."""

from typing import Any

from creche.records import (
    BehaviorResult,
    ClassMetrics,
    Evaluation,
    FileChecks,
    OodMetrics,
    Parity,
    PredictionSetMetrics,
    SliceMetrics,
    UnknownPredictions,
    UnseenValue,
)


def evaluation(**changes: Any) -> Evaluation:
    """Return an evaluation of two classes and 60 rows, with the given fields instead of its own."""
    per_class = {
        name: ClassMetrics(rows=30, precision=1.0, recall=0.95) for name in ("Adelie", "Gentoo")
    }
    fields: dict[str, Any] = {
        "digest": "0" * 64,
        "rows": 60,
        "correct": 57,
        "accuracy": 0.95,
        "accuracy_low": 0.86,
        "accuracy_high": 0.98,
        "log_loss": 0.1,
        "classes": ["Adelie", "Gentoo"],
        "per_class": per_class,
        "confusion_matrix": [[28, 2], [1, 29]],
        "expected_calibration_error": 0.02,
        "calibration_bins": [],
        "slices": [SliceMetrics(column="island", value="Dream", rows=9, accuracy=0.9)],
        "unknown": UnknownPredictions(rows=0, unseen_values=[]),
        "parity": Parity(rows=60, max_difference=1e-7, label_mismatches=0),
        "prediction_sets": prediction_sets(),
        "ood": ood(),
        "file": file_checks(),
        "behavior": [behavior()],
    }
    return Evaluation(**{**fields, **changes})


def prediction_sets(covered: int = 55) -> PredictionSetMetrics:
    return PredictionSetMetrics(covered=covered, mean_size=1.0, coverage=0.9, calibration_rows=40)


def ood(**changes: Any) -> OodMetrics:
    fields = {"rows": 60, "not_finite": 0, "zero": 1, "noise_rows": 1000, "auroc": 0.97}
    return OodMetrics(**{**fields, **changes})


def unknown(rows: int) -> UnknownPredictions:
    unseen = UnseenValue(column="island", value="Signy", rows=rows)
    return UnknownPredictions(rows=rows, unseen_values=[unseen])


def file_checks(**changes: Any) -> FileChecks:
    fields: dict[str, Any] = {
        "provider": "CPUExecutionProvider",
        "bytes": 9,
        "latency_ms": 0.1,
        "golden_mismatches": [],
        "batch_size_difference": 0.0,
    }
    return FileChecks(**{**fields, **changes})


def behavior(rows: int = 8, share: float | None = 1.0) -> BehaviorResult:
    return BehaviorResult(
        name="b", expected="keep their label", rows=rows, share=share, threshold=0.9
    )
