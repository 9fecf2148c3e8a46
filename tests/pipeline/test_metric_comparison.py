"""The comparison by `gate.primary`, from the predicted holdout rows on."""

import io

import numpy as np
import pandas as pd
import pytest
from support.projects import ROOT

from creche.gate import NotComparable
from creche.pipeline.metric_comparison import HoldoutPredictions, PairedRows, compare_by_metric
from creche.recipe import Recipe, load

CLASSES = ("Adelie", "Chinstrap", "Gentoo")
N = 400


def recipe(primary: str) -> Recipe:
    penguins = load("penguins", ROOT)
    gate = penguins.gate.model_copy(update={"primary": primary})
    return penguins.model_copy(update={"gate": gate})


def predictions(seed: int, separation: float, actual: np.ndarray) -> HoldoutPredictions:
    logits = np.random.default_rng(seed).normal(size=(N, 3))
    logits[np.arange(N), actual] += separation
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array(CLASSES, object)[probabilities.argmax(axis=1)]
    labels[:5] = "unknown"
    probabilities[:5] = np.nan
    return HoldoutPredictions(labels, probabilities)


def paired_rows(primary: str, first: float = 3.0, second: float = 1.5) -> PairedRows:
    actual = np.arange(N) % 3
    names = np.array(CLASSES, object)[actual]
    challenger = predictions(0, first, actual).labeled(names, CLASSES)
    champion = predictions(1, second, actual).labeled(names, CLASSES)
    return PairedRows(challenger, champion, np.arange(N), recipe(primary))


@pytest.mark.parametrize("primary", ["macro_f1", "log_loss", "roc_auc"])
def test_models_are_compared_by_the_primary_metric_on_all_rows_and_slices(primary: str) -> None:
    slices = {"sex male": np.arange(N) < 200, "study 3": np.arange(N) < 10}
    comparison = compare_by_metric(paired_rows(primary), True, slices)
    assert comparison.metric == primary
    assert comparison.p_better < 0.05
    assert comparison.p_worse > 0.5
    # The other one has too few groups to show anything.
    assert [part.slice for part in comparison.slices] == ["sex male"]
    assert comparison.slices[0].rows == 200


def test_holdout_on_which_the_metric_is_not_defined_is_not_compared() -> None:
    names = np.full(N, "Adelie", object)
    rows = predictions(0, 1.0, np.zeros(N, int)).labeled(names, CLASSES)
    paired = PairedRows(rows, rows, np.arange(N), recipe("roc_auc"))
    result = compare_by_metric(paired, True, {})
    assert result == NotComparable("ROC AUC is not defined on this holdout, which lacks a class")


def test_predicted_holdout_rows_are_read_as_they_were_written() -> None:
    written = predictions(0, 1.0, np.arange(N) % 3)
    frame = pd.DataFrame({"predicted": written.labels})
    frame[[f"probability_{name}" for name in CLASSES]] = written.probabilities.astype(np.float32)
    text = frame.to_csv(index=False)
    read = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    for rows in (frame, read):
        result = HoldoutPredictions.of(rows, CLASSES)
        assert result.labels.tolist() == written.labels.tolist()
        np.testing.assert_allclose(result.probabilities, written.probabilities, rtol=1e-6)
