from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.proportion import proportion_confint

from creche.errors import ModelError
from creche.evaluation.isolated import evaluate_isolated
from creche.evaluation.metrics import (
    classification_metrics,
    expected_calibration_error,
    parity,
)
from creche.gate import decide
from creche.pipeline.evaluate import measure
from creche.project import EVALUATION_PLOT, HOLDOUT_PREDICTIONS, MODEL, REFERENCE, SPLIT, RunPaths
from creche.recipe import BehaviorTest, LinearPerturbation, Recipe
from creche.records import ClassMetrics, Parity, UnknownPredictions, UnseenValue

CLASSES = ("a", "b", "c")
TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]


def test_interval_is_wilsons() -> None:
    actual, predicted = np.array(["a"] * 90 + ["b"] * 10), np.array(["a"] * 97 + ["c"] * 3)
    result = classification_metrics(actual, predicted, np.full((100, 3), 1 / 3), CLASSES)
    low, high = proportion_confint(90, 100, 0.05, method="wilson")
    interval = (result.accuracy, result.accuracy_low, result.accuracy_high)
    assert interval == pytest.approx((0.9, low, high))


def test_class_without_rows_has_no_recall() -> None:
    result = classification_metrics(
        np.array(["a", "b"]), np.array(["a", "a"]), np.full((2, 3), 1 / 3), CLASSES
    )
    assert result.per_class["c"] == ClassMetrics(rows=0, precision=0.0, recall=None)
    assert result.per_class["a"] == ClassMetrics(rows=1, precision=0.5, recall=1.0)
    assert result.confusion_matrix == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_calibration_error_of_one_bin_is_its_gap() -> None:
    probabilities = np.array([[0.85, 0.15]] * 10)
    result = expected_calibration_error(probabilities, np.array([True] * 6 + [False] * 4))
    assert result.expected_error == pytest.approx(0.25)
    assert result.bins[8].rows == 10
    assert result.bins[8].confidence == pytest.approx(0.85)
    assert result.bins[8].accuracy == 0.6


@pytest.mark.parametrize("label", CLASSES)
def test_unknown_prediction_counts_as_wrong_in_the_calibration(label: str) -> None:
    result = classification_metrics(
        np.array([label]), np.array(["unknown"]), np.full((1, 3), np.nan), CLASSES
    )
    assert result.expected_calibration_error == pytest.approx(1 / 3)
    assert result.calibration_bins[3].accuracy == 0.0


def test_parity_counts_labels_that_differ() -> None:
    reference = np.array([[0.9, 0.1], [0.2, 0.8]])
    same = parity(reference, reference)
    assert same == Parity(rows=2, max_difference=0.0, label_mismatches=0)
    different = parity(np.array([[0.4, 0.6], [0.2, 0.8]]), reference)
    assert different == Parity(rows=2, max_difference=0.5, label_mismatches=1)


def test_parity_compares_only_rows_that_both_predict() -> None:
    """What is unknown to the file, or overflows in torch, is no difference of the two."""
    unknown = [np.nan, np.nan]
    of_file = np.array([unknown, [0.2, 0.8], [0.5, 0.5]])
    reference = np.array([[0.9, 0.1], [0.2, 0.8], unknown])
    assert parity(of_file, reference) == Parity(rows=1, max_difference=0.0, label_mismatches=0)
    nothing = parity(np.array([unknown]), np.array([[0.9, 0.1]]))
    assert nothing == Parity(rows=0, max_difference=None, label_mismatches=0)


def test_penguins_are_told_apart(
    trained_run: TrainedRun,
) -> None:
    _, paths, results = trained_run
    assert results["evaluate"].accuracy >= 0.99
    assert results["evaluate"].parity.max_difference < 1e-5
    rows = (paths / HOLDOUT_PREDICTIONS).read_text().splitlines()
    assert (
        rows[0]
        == "row,actual,predicted,probability_Adelie,probability_Chinstrap,probability_Gentoo"
    )
    assert len(rows) - 1 == results["evaluate"].rows
    assert (paths / EVALUATION_PLOT).read_bytes().startswith(b"\x89PNG")


def test_category_that_only_the_holdout_has_is_counted_and_named(trained_run: TrainedRun) -> None:
    """It says nothing of the export, and each of its rows counts as wrong."""
    recipe, paths, results = trained_run
    table = pq.read_table(paths / SPLIT)
    islands = table["island"].to_numpy().astype(object)
    rows = np.flatnonzero(table["split"].to_numpy() == "holdout")
    islands[rows[:2]] = "Signy"
    islands[rows[2]] = "Elephant Island"
    position = table.schema.get_field_index("island")
    changed = table.set_column(position, "island", pa.array(islands, pa.string()))
    reference = np.stack(pq.read_table(paths / REFERENCE)["probabilities"].to_numpy())
    result, _ = measure(paths / MODEL, changed, recipe, reference)
    assert result.unknown == UnknownPredictions(
        rows=3,
        unseen_values=[
            UnseenValue(column="island", value="Signy", rows=2),
            UnseenValue(column="island", value="Elephant Island", rows=1),
        ],
    )
    assert result.parity.rows == result.rows - 3
    assert result.parity.label_mismatches == 0
    assert result.parity.max_difference < 1e-5
    assert result.correct == results["evaluate"].correct - 3
    verdict = decide(result, recipe.gate, None)
    (check,) = (check for check in verdict.checks if check.name == "unknown predictions")
    assert (check.value, check.passed) == (3 / result.rows, True)
    assert "parity with torch" not in [c.name for c in verdict.checks if not c.passed]


def with_gate(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"gate": recipe.gate.model_copy(update=changes)})


def test_slices_are_those_of_the_contract_and_of_all_rows(trained_run: TrainedRun) -> None:
    recipe, paths, _ = trained_run
    table = pq.read_table(paths / SPLIT)
    result, _ = measure(paths / MODEL, table, with_gate(recipe, slices={"sex": 0.5, "study": 0.5}))
    assert [(part.column, part.value) for part in result.slices] == [
        ("sex", "female"), ("sex", "male"), ("study", "PAL0708"), ("study", "PAL0809"), ("study", "PAL0910"),
    ]  # fmt: skip
    holdout = table.filter(np.array(table["split"].to_pylist()) == "holdout")
    assert [part.rows for part in result.slices[:2]] == [
        holdout["sex"].to_pylist().count(s) for s in ("female", "male")
    ]
    only_2007 = table.filter(
        (np.array(table["split"].to_pylist()) != "holdout")
        | (table["study"].to_numpy() == "PAL0708")
    )
    result, _ = measure(paths / MODEL, only_2007, with_gate(recipe, slices={"study": 0.5}))
    assert [part.rows > 0 for part in result.slices] == [True, False, False]


def test_behaviour_is_tried_on_the_rows_meant(trained_run: TrainedRun) -> None:
    recipe, paths, _ = trained_run
    tests = (
        BehaviorTest(name="strange", change={"island": "Signy"}, expect="unknown"),
        BehaviorTest(name="giant", where={"species": "Adelie"}, expect="Gentoo",
                  change={"bill_depth_mm": 13.5, "flipper_length_mm": LinearPerturbation(add=40), "body_mass_g": LinearPerturbation(times=1.5)}),
        BehaviorTest(name="heavier", change={"body_mass_g": LinearPerturbation(times=3)}, expect="same"),
        BehaviorTest(name="nobody", where={"sex": "unheard of"}, change={"body_mass_g": 4000.0}, expect="same"),
    )  # fmt: skip
    holdout = pq.read_table(paths / SPLIT).filter(
        np.array(pq.read_table(paths / SPLIT)["split"].to_pylist()) == "holdout"
    )
    _, report = evaluate_isolated(paths / MODEL, holdout, with_gate(recipe, behavior=tests).gate)
    strange, giant, heavier, nobody = report.behavior
    assert (strange.rows, strange.share) == (110, 1.0)
    assert (giant.rows, giant.expected) == (42, "become Gentoo")
    assert giant.share > 0.5
    assert heavier.share < 1
    assert (nobody.rows, nobody.share) == (0, None)


def test_file_is_asked_in_a_process_of_its_own(trained_run: TrainedRun, tmp_path: Path) -> None:
    recipe, paths, _ = trained_run
    table = pq.read_table(paths / SPLIT)
    result, _ = measure(paths / MODEL, table, recipe)
    assert result.file.golden_mismatches == []
    assert result.file.batch_size_difference < 1e-6
    assert result.file.bytes == (paths / MODEL).stat().st_size
    altered = onnx.load(paths / MODEL)
    for tensor in altered.graph.initializer:
        if tensor.name.endswith("bias"):
            tensor.raw_data = (onnx.numpy_helper.to_array(tensor) + 1).tobytes()
    (tmp_path / "altered.onnx").write_bytes(altered.SerializeToString())
    result, _ = measure(tmp_path / "altered.onnx", table, recipe)
    assert result.file.golden_mismatches[0].startswith(
        ("golden row", "probabilities of the golden rows differ")
    )
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(
        ModelError,
        match=r"broken.onnx cannot be run in a fresh process: .* no model that onnxruntime",
    ):
        evaluate_isolated(tmp_path / "broken.onnx", table, recipe.gate)
    with pytest.raises(ModelError, match="onnxruntime has no TensorrtExecutionProvider here"):
        evaluate_isolated(
            paths / MODEL, table, with_gate(recipe, provider="TensorrtExecutionProvider").gate
        )
