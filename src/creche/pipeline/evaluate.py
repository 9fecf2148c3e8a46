"""Measure the model file, not the network it came from: what is judged is what ships."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from creche.contract import images
from creche.contract.outputs import LABEL, PREDICTION_SET, PROBABILITIES
from creche.data import pixel_store
from creche.evaluation.isolated import evaluate_isolated
from creche.gate import slice_masks
from creche.model.artifact import Model
from creche.project import (
    EVALUATION,
    EVALUATION_PLOT,
    HOLDOUT,
    MISTAKES,
    MODEL,
    REFERENCE,
    SPLIT,
    RunPaths,
    atomic_write,
    write_json,
)
from creche.recipe import Recipe
from creche.reporting import report

INPUTS = (MODEL, SPLIT, REFERENCE)
OUTPUTS = (EVALUATION, HOLDOUT, EVALUATION_PLOT)
BINS = 10


def run(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Write the figures, every holdout row with its prediction, and the plots."""
    reference = np.stack(pq.read_table(paths / REFERENCE)["probabilities"].to_numpy())
    table = pixel_store.read_table(paths / SPLIT, paths)
    result, rows = measure(paths / MODEL, table, recipe, reference)
    for name in (n for n in recipe.features if recipe.columns[n].kind == "image"):
        holdout = table.filter(pc.field("side") == "holdout")
        result["mistakes"] = result["rows"] - result["right"]
        with atomic_write(paths / MISTAKES) as part:
            report.mistakes(images.pixels(holdout[name], recipe.columns[name]), rows, part)
    write_json(paths / EVALUATION, result)
    with atomic_write(paths / HOLDOUT) as part:
        rows.to_csv(part, index=False)
    with atomic_write(paths / EVALUATION_PLOT) as part:
        report.evaluation(result, part)
    return result


def measure(
    path: Path, table: pa.Table, recipe: Recipe, reference: np.ndarray | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The figures of a model file on the holdout, and every holdout row with its prediction.

    Args:
        table: all accepted rows with their side.
        reference: torch's probabilities (n, classes) of the holdout rows; without them parity is
        not measured.

    Raises:
        ModelError: the file does not load or answer in a process without torch.
    """
    holdout = table.filter(pc.field("side") == "holdout")
    predictions, findings = evaluate_isolated(path, holdout, recipe.gate)
    model = Model(path)
    actual, predicted = holdout[recipe.label].to_numpy(), predictions[LABEL].to_numpy()
    probabilities, sets = (
        np.array(predictions[n].to_pylist(), t)
        for n, t in ((PROBABILITIES, np.float32), (PREDICTION_SET, bool))
    )
    result = evaluate(actual, predicted, probabilities, model.classes)
    right = actual == predicted
    result["slices"] = [
        {
            "column": c,
            "value": v,
            "rows": int(mask.sum()),
            "accuracy": float(right[mask].mean()) if mask.any() else None,
        }
        for c, v, mask in slice_masks(table, recipe)
    ]
    result["parity"] = None if reference is None else parity(probabilities, reference)
    index = [model.classes.index(a) for a in actual]
    stated = model.metadata.uncertainty
    result["sets"] = {
        "covered": int(sets[np.arange(len(index)), index].sum()),
        "mean_size": float(sets.sum(axis=1).mean()),
        "coverage": stated.coverage,
        "calibration_rows": stated.calibration_rows,
    }
    rows = pd.DataFrame(
        {"row": holdout["row"].to_numpy(), "actual": actual, "predicted": predicted}
    )
    rows[[f"probability_{c}" for c in model.classes]] = probabilities
    return {**result, **findings, "digest": model.digest}, rows


def evaluate(
    actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, precision and recall by class, confusion, log loss,
    calibration.

    Labels are (n,), probabilities (n, classes). A class without rows has recall None: it was not
    measured.
    """
    n, right = len(actual), int((actual == predicted).sum())
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    precision, recall, _, support = precision_recall_fscore_support(
        actual, predicted, labels=classes, zero_division=0
    )
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
    """Expected calibration error over ten equal bins of the top probability (Guo et al., 2017, On
    Calibration of Modern Neural Networks), and the bins: rows, mean stated probability, share
    right.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == actual
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for b in range(BINS):
        inside = place == b
        rows = int(inside.sum())
        stated, share = (
            (float(confidence[inside].mean()), float(right[inside].mean()))
            if rows
            else (None, None)
        )
        bins.append({"rows": rows, "confidence": stated, "accuracy": share})
        if stated is not None and share is not None:
            error += rows / len(actual) * abs(stated - share)
    return {"expected_calibration_error": error, "calibration": bins}


def parity(probabilities: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """How far the model file's probabilities (n, classes) stand from torch's, and how many labels
    differ.
    """
    if probabilities.shape != reference.shape:
        raise ValueError(f"{probabilities.shape} against {reference.shape}")
    difference = np.abs(probabilities - reference)
    return {
        "largest_difference": float(np.nan_to_num(difference, nan=1.0).max()),
        "labels_that_differ": int((probabilities.argmax(axis=1) != reference.argmax(axis=1)).sum()),
    }
