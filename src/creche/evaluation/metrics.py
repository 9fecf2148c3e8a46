"""Metrics of a classifier from its labels and probabilities."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from creche.records import CalibrationBin, ClassificationMetrics, ClassMetrics, Parity

BINS = 10  # of the highest probability, equal in width
CONFIDENCE = 0.95  # of the interval of the accuracy


class Calibration(NamedTuple):
    """How far stated probabilities are from the share of correct predictions."""

    expected_error: float  # 0..1
    bins: list[CalibrationBin]


def classification_metrics(
    actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> ClassificationMetrics:
    """Return accuracy, log loss, calibration, confusion matrix, and precision and recall by class.

    Args:
        actual: labels (n,).
        predicted: labels (n,); `unknown` counts as wrong.
        probabilities: (n, classes); NaN where the model predicts `unknown`, taken as uniform.
        classes: in the order of the columns of `probabilities`.

    Returns:
        The metrics. A class without rows has recall None: it was not measured.
    """
    rows = len(actual)
    correct = int((actual == predicted).sum())
    interval = binomtest(correct, rows).proportion_ci(CONFIDENCE, method="wilson")
    class_indices = np.array([classes.index(label) for label in actual])
    known = np.nan_to_num(probabilities.astype(np.float64), nan=1 / len(classes))
    known /= known.sum(axis=1, keepdims=True)
    calibration = expected_calibration_error(known, actual == predicted)
    return ClassificationMetrics(
        rows=rows,
        correct=correct,
        accuracy=correct / rows,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        log_loss=float(log_loss(class_indices, known, labels=range(len(classes)))),
        classes=list(classes),
        per_class=_metrics_per_class(actual, predicted, classes),
        confusion_matrix=confusion_matrix(actual, predicted, labels=classes).tolist(),
        expected_calibration_error=calibration.expected_error,
        calibration_bins=calibration.bins,
    )


def _metrics_per_class(
    actual: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]
) -> dict[str, ClassMetrics]:
    precision, recall, _, support = precision_recall_fscore_support(
        actual, predicted, labels=classes, zero_division=0
    )
    metrics = {}
    for index, name in enumerate(classes):
        rows = int(support[index])
        metrics[name] = ClassMetrics(
            rows=rows,
            precision=float(precision[index]),
            recall=float(recall[index]) if rows else None,
        )
    return metrics


def expected_calibration_error(probabilities: np.ndarray, is_correct: np.ndarray) -> Calibration:
    """Return the expected calibration error over ten equal bins of the highest probability.

    Guo et al., 2017, On Calibration of Modern Neural Networks.

    Args:
        probabilities: (n, classes), rows sum to 1.
        is_correct: mask (n,) of the rows that are predicted correctly.
    """
    confidence = probabilities.max(axis=1)
    bin_indices = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    error = 0.0
    for bin_index in range(BINS):
        in_bin = bin_indices == bin_index
        rows = int(in_bin.sum())
        if not rows:
            bins.append(CalibrationBin(rows=0, confidence=None, accuracy=None))
            continue
        mean_confidence = float(confidence[in_bin].mean())
        accuracy = float(is_correct[in_bin].mean())
        bins.append(CalibrationBin(rows=rows, confidence=mean_confidence, accuracy=accuracy))
        error += rows / len(is_correct) * abs(mean_confidence - accuracy)
    return Calibration(error, bins)


def parity(
    probabilities: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None
) -> Parity:
    """Return how far the model file's probabilities (n, classes) are from torch's, and how many
    labels differ, on the rows that both predict.

    A row that the file predicts as unknown, whose probabilities are NaN, says nothing of the
    export: torch knows no unknown rows.

    Args:
        probabilities: of the model file.
        reference: of torch.
        weights: of the decision (classes,); None: the label is the most likely class.

    Raises:
        ValueError: the two have other shapes.
    """
    if probabilities.shape != reference.shape:
        raise ValueError(f"{probabilities.shape} against {reference.shape}")
    is_compared = np.isfinite(probabilities).all(axis=1) & np.isfinite(reference).all(axis=1)
    compared, expected = probabilities[is_compared], reference[is_compared]
    factors = np.ones(probabilities.shape[1], np.float32) if weights is None else weights
    label_differs = (compared * factors).argmax(axis=1) != (expected * factors).argmax(axis=1)
    difference = np.abs(compared - expected)
    return Parity(
        rows=len(compared),
        max_difference=float(difference.max()) if len(compared) else None,
        label_mismatches=int(label_differs.sum()),
    )
