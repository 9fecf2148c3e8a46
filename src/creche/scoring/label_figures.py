"""What a model is worth on the scored rows whose label is known: the figures that the gate judges
by.

Their names and definitions are those of `creche.evaluation`, which computes them from all rows at
once, and needs libraries that scoring does without.
"""

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from creche.scoring.label_sums import BINS, UNITS, LabelSums

if TYPE_CHECKING:
    from creche.records import CalibrationBin, KnownLabels, MetricEstimate

CONFIDENCE = 0.95
WILSON = "Wilson"


def label_figures(column: str, classes: tuple[str, ...], sums: LabelSums) -> "KnownLabels | None":
    """Return the figures of rows whose label is known; None where there is no row.

    Each row counts as independent in the intervals, since the group of a row is not known here.

    Args:
        column: the label.
        classes: in the order of the class indices.
        sums: over the rows.
    """
    from creche.records import KnownLabels

    k = len(classes)
    confusion = np.zeros((k, k + 1), np.int64)
    for pair, count in sums.confusion.items():
        confusion[divmod(pair, k + 1)] = count
    rows = int(confusion.sum())
    if not rows:
        return None
    hits = np.diagonal(confusion)
    return KnownLabels(
        column=column,
        rows=rows,
        other_rows=sums.other_rows,
        correct=int(hits.sum()),
        classes=list(classes),
        confusion_matrix=confusion[:, :k].tolist(),
        unknown=dict(zip(classes, confusion[:, k].tolist(), strict=True)),
        metrics=_metrics(classes, confusion, sums),
        expected_calibration_error=_calibration_error(sums, rows),
        calibration_bins=[_calibration_bin(sums, index) for index in range(BINS)],
    )


def _metrics(
    classes: tuple[str, ...], confusion: np.ndarray, sums: LabelSums
) -> "dict[str, MetricEstimate]":
    """Return every metric by its name in `evaluation.json`.

    Args:
        classes: in the order of the class indices.
        confusion: rows by actual and predicted class (K, K + 1), `unknown` last.
        sums: over the rows.
    """
    from creche.records import MetricEstimate

    k = len(classes)
    hits = np.diagonal(confusion)
    actual = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)[:k]
    rows = int(actual.sum())
    has_rows = actual > 0
    recalls = hits[has_rows] / actual[has_rows]
    f1_scores = 2 * hits[has_rows] / (actual + predicted)[has_rows]
    squared_error = sums.squared_error / UNITS / rows
    values = {
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(f1_scores.mean()),
        "log_loss": sums.log_loss / UNITS / rows,
        # Of two classes both squares are the same, and the score has one of them.
        "brier_score": squared_error / 2 if k == 2 else squared_error,
    }
    metrics = {"accuracy": _share(int(hits.sum()), rows)}
    for name, value in values.items():
        metrics[name] = MetricEstimate(value=value, rows=rows)
    for i, class_name in enumerate(classes):
        metrics[f"recall of {class_name}"] = _share(int(hits[i]), int(actual[i]))
        metrics[f"precision of {class_name}"] = _share(int(hits[i]), int(predicted[i]))
    return metrics


def _share(hits: int, rows: int) -> "MetricEstimate":
    """Return a share of rows with its 95 % Wilson interval."""
    from creche.records import MetricEstimate

    if not rows:
        return MetricEstimate(value=None, rows=0)
    share = hits / rows
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    center = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    variance = share * (1 - share) / rows + (z / (2 * rows)) ** 2
    half_width = z / (1 + z**2 / rows) * math.sqrt(variance)
    return MetricEstimate(
        value=share,
        low=max(0.0, center - half_width),
        high=min(1.0, center + half_width),
        rows=rows,
        interval=WILSON,
    )


def _calibration_bin(sums: LabelSums, index: int) -> "CalibrationBin":
    from creche.records import CalibrationBin

    rows = sums.bin_rows[index]
    if not rows:
        return CalibrationBin(rows=0, confidence=None, accuracy=None)
    return CalibrationBin(
        rows=rows,
        confidence=sums.bin_confidence[index] / UNITS / rows,
        accuracy=sums.bin_correct[index] / rows,
    )


def _calibration_error(sums: LabelSums, rows: int) -> float:
    """Return the expected calibration error: the difference between stated probability and share of
    correct predictions in each bin, weighted by its rows.
    """
    error = 0.0
    for correct, confidence in zip(sums.bin_correct, sums.bin_confidence, strict=True):
        error += abs(confidence / UNITS - correct) / rows
    return error
