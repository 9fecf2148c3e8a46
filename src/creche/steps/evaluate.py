"""Measure the model file, not the network it came from: what is judged is what ships."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from creche import report
from creche.model_file import Model
from creche.places import EVALUATION, EVALUATION_PLOT, HOLDOUT, MODEL, REFERENCE, SPLIT, Places, replacing, write_json
from creche.recipe import Recipe

READS = (MODEL, SPLIT, REFERENCE)
WRITES = (EVALUATION, HOLDOUT, EVALUATION_PLOT)
BINS = 10


def run(recipe: Recipe, places: Places) -> dict[str, Any]:
    """Write the figures, every holdout row with its prediction, and the plots."""
    model = Model(places / MODEL)
    table = pq.read_table(places / SPLIT).filter(pc.field("side") == "holdout")
    answers = model.answer({n: table[n].to_numpy() for n in recipe.features})
    actual, predicted, probabilities = table[recipe.label].to_numpy(), answers.labels, answers.probabilities
    reference = np.stack(pq.read_table(places / REFERENCE)["probabilities"].to_numpy())
    result = evaluate(actual, predicted, probabilities, model.classes)
    result["parity"] = parity(probabilities, reference)
    index = [model.classes.index(a) for a in actual]
    result["coverage"] = float(answers.sets[np.arange(len(index)), index].mean())
    result["set_size"] = float(answers.sets.sum(axis=1).mean())
    result["digest"] = model.digest
    write_json(places / EVALUATION, result)
    _write_rows(places / HOLDOUT, table["row"].to_numpy(), actual, predicted, probabilities, model.classes)
    with replacing(places / EVALUATION_PLOT) as part:
        report.evaluation(result, part)
    return result


def evaluate(actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, precision and recall by class, confusion, log loss, calibration.

    Labels are (n,), probabilities (n, classes). A class without rows has recall None: it was not measured.
    """
    n, right = len(actual), int((actual == predicted).sum())
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    precision, recall, _, support = precision_recall_fscore_support(actual, predicted, labels=classes, zero_division=0)
    index = np.array([classes.index(a) for a in actual])
    sure = np.nan_to_num(probabilities.astype(np.float64), nan=1 / len(classes))
    sure /= sure.sum(axis=1, keepdims=True)
    return {
        "rows": n,
        "right": right,
        "accuracy": right / n,
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "log_loss": float(log_loss(index, sure, labels=range(len(classes)))),
        "classes": list(classes),
        "by_class": {
            c: {
                "rows": int(support[i]),
                "precision": float(precision[i]),
                "recall": float(recall[i]) if support[i] else None,
            }
            for i, c in enumerate(classes)
        },
        "confusion": confusion_matrix(actual, predicted, labels=classes).tolist(),
        **calibration(sure, index),
    }


def calibration(probabilities: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over ten equal bins of the top probability (Guo et al., 2017, On Calibration of
    Modern Neural Networks), and the bins: rows, mean stated probability, share right."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == actual
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for b in range(BINS):
        inside = place == b
        rows = int(inside.sum())
        stated, share = (float(confidence[inside].mean()), float(right[inside].mean())) if rows else (None, None)
        bins.append({"rows": rows, "confidence": stated, "accuracy": share})
        if stated is not None and share is not None:
            error += rows / len(actual) * abs(stated - share)
    return {"expected_calibration_error": error, "calibration": bins}


def parity(probabilities: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """How far the model file's probabilities (n, classes) stand from torch's, and how many labels differ."""
    if probabilities.shape != reference.shape:
        raise ValueError(f"{probabilities.shape} against {reference.shape}")
    difference = np.abs(probabilities - reference)
    return {
        "largest_difference": float(np.nan_to_num(difference, nan=1.0).max()),
        "labels_that_differ": int((probabilities.argmax(axis=1) != reference.argmax(axis=1)).sum()),
    }


def _write_rows(
    path: Path, rows: np.ndarray, actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: Any
) -> None:
    frame = pd.DataFrame({"row": rows, "actual": actual, "predicted": predicted})
    frame[[f"probability_{c}" for c in classes]] = probabilities
    with replacing(path) as part:
        frame.to_csv(part, index=False)
