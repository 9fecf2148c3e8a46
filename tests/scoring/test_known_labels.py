"""The accuracy of a scoring whose input states the labels."""

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.observations import score_paths
from support.projects import BIRD, PENGUINS

from creche.contract import Column, Contract
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource
from creche.errors import DataError
from creche.evaluation.estimates import metric_estimates
from creche.evaluation.metric_values import LabeledPredictions, MetricOptions
from creche.evaluation.metrics import classification_metrics
from creche.model.artifact import Model, Predictions
from creche.project import SPLIT, RunPaths
from creche.records import ClassificationMetrics, Evaluation, KnownLabels, MetricEstimate
from creche.scoring.batch import score
from creche.scoring.executors import ThreadExecutor
from creche.scoring.jobs import ScoringJob, score_file
from creche.scoring.label_column import LabelColumn
from creche.scoring.label_figures import label_figures
from creche.scoring.label_sums import LabelSums
from creche.scoring.manifest import summary_lines
from creche.scoring.staging import CommitRecord

WITHOUT_INTERVAL = ("balanced_accuracy", "macro_f1", "log_loss", "brier_score")
HEADER = ",".join(["Species", *BIRD])
CELLS = ",".join(BIRD.values())


@pytest.mark.parametrize("carrier", ["csv", "parquet", "dictionary"])
def test_accuracy_is_that_of_the_scored_rows_with_a_label(
    model: Model, tmp_path: Path, carrier: str
) -> None:
    table = pyarrow.csv.read_csv(PENGUINS)
    path = tmp_path / "penguins.parquet"
    if carrier == "dictionary":
        species = table["species"].dictionary_encode()
        table = table.set_column(table.column_names.index("species"), "species", species)
    if carrier == "csv":
        path = path.with_suffix(".csv")
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    manifest = score_paths([path], model, tmp_path / "out")
    scored = pq.read_table(tmp_path / "out/predictions.parquet").to_pylist()
    correct = sum(row["species"] == row["predicted_species"] for row in scored)
    assert manifest.known_labels is not None
    assert (manifest.known_labels.rows, manifest.known_labels.correct) == (manifest.scored, correct)
    accuracy = f"accuracy {correct / manifest.scored:.4f} (95 % interval 0."
    lines = [line for line in summary_lines(manifest) if line.startswith(accuracy)]
    assert f": {correct} of the {manifest.scored} scored rows" in lines[0]


class OtherProcess(ThreadExecutor):
    """Sends jobs and commit records as a cluster does, and may stop after some of them."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after

    def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
        for done, job in enumerate(jobs):
            if done == self.stop_after:
                raise DataError("stopped")
            sent: ScoringJob = pickle.loads(pickle.dumps(job))
            commit: CommitRecord = pickle.loads(pickle.dumps(score_file(sent)))
            yield commit


def test_resumed_scoring_and_other_processes_give_the_same_figures(
    model: Model, tmp_path: Path
) -> None:
    table = pyarrow.csv.read_csv(PENGUINS)
    for number in range(3):
        pq.write_table(table.slice(100 * number, 100), tmp_path / f"{number}.parquet")
    whole = score_paths([tmp_path / "*.parquet"], model, tmp_path / "whole").known_labels
    sources = find_sources([str(tmp_path / "*.parquet")])
    with pytest.raises(DataError, match="stopped"):
        score(sources, model, "1", tmp_path / "out", executor=OtherProcess(stop_after=2))
    resumed = score(sources, model, "1", tmp_path / "out", executor=OtherProcess())
    assert resumed.known_labels == whole
    together = tmp_path / "together.csv"
    pa.csv.write_csv(table.slice(0, 300), together)
    assert score_paths([together], model, tmp_path / "together").known_labels == whole


def test_rows_without_a_class_or_prediction_do_not_count(model: Model, tmp_path: Path) -> None:
    labels = ["Chinstrap", " Chinstrap ", "Adelie", "", "Emperor"]
    lines = [HEADER, *(f"{label},{CELLS}" for label in labels)]
    quarantined = "Chinstrap," + CELLS.replace("5000", "5")
    first = tmp_path / "a.csv"
    first.write_text("\n".join([*lines, quarantined]) + "\n")
    second = tmp_path / "b.csv"
    second.write_text(f"{HEADER}\nChinstrap,{CELLS}\n")
    manifest = score_paths([first, second], model, tmp_path / "out")
    known = manifest.known_labels
    assert known is not None
    assert (known.column, known.rows, known.correct, known.accuracy) == ("species", 4, 3, 0.75)
    assert known.confusion_matrix == [[0, 1, 0], [0, 3, 0], [0, 0, 0]]
    # The emperor is no class of the model.
    assert known.other_rows == 1
    assert "1 further rows state a species that is no class" in summary_lines(manifest)[-2]
    assert known.metrics["recall of Gentoo"].value is None


@pytest.mark.parametrize("carrier", ["text", "dictionary"])
def test_class_that_is_spelled_like_a_missing_value_is_known(model: Model, carrier: str) -> None:
    labels = pa.array(["none", "NA", "mild", "", None])
    if carrier == "dictionary":
        labels = labels.dictionary_encode()
    table = pa.table({"severity": labels, **{name: [cell] * 5 for name, cell in BIRD.items()}})
    reader = TableReader(MemorySource.of(table, "x"), model.contract)
    # Of the model, only the label matters here.
    classes = ("none", "NA", "mild")
    column = Column("category", values=classes, missing_values=())
    metadata = SimpleNamespace(label_column=Contract({"severity": column}))
    severity: Any = SimpleNamespace(label="severity", classes=classes, metadata=metadata)
    (block,) = reader.blocks()
    predicted = np.array([0, 0, 2, 0, 0])
    predictions = Predictions(np.full((5, 3), 1 / 3), np.ones(5), np.ones((5, 3), bool), classes)
    sums = LabelColumn(severity, reader).sums(block.cells, None, predictions, predicted)
    assert sums is not None
    # Actual class × 4 + predicted class → rows.
    assert sums.confusion == {0: 1, 4: 1, 10: 1}


def test_no_label_column_no_accuracy(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{','.join(BIRD)}\n{CELLS}\n")
    manifest = score_paths([path], model, tmp_path / "out")
    assert manifest.known_labels is None
    assert not any("accuracy" in line for line in summary_lines(manifest))


def assert_equal_figures(
    known: KnownLabels, expected: ClassificationMetrics, estimates: dict[str, MetricEstimate]
) -> None:
    """Check the figures of a scoring against those of the evaluation of the same rows."""
    assert (known.rows, known.correct) == (expected.rows, expected.correct)
    assert known.confusion_matrix == expected.confusion_matrix
    for name, metrics in expected.per_class.items():
        assert known.metrics[f"recall of {name}"].rows == metrics.rows
        assert known.unknown[name] == metrics.rows - sum(
            known.confusion_matrix[known.classes.index(name)]
        )
    assert known.metrics["accuracy"].low == pytest.approx(expected.accuracy_low, abs=1e-12)
    assert known.metrics["accuracy"].high == pytest.approx(expected.accuracy_high, abs=1e-12)
    assert known.metrics["log_loss"].value == pytest.approx(expected.log_loss, abs=1e-9)
    error = expected.expected_calibration_error
    assert known.expected_calibration_error == pytest.approx(error, abs=1e-9)
    for own, other in zip(known.calibration_bins, expected.calibration_bins, strict=True):
        assert own.model_dump() == pytest.approx(other.model_dump(), abs=1e-9)
    for name, metric in known.metrics.items():
        estimate = estimates[name].model_dump()
        if name in WITHOUT_INTERVAL:
            # The evaluation draws resamples of the rows, which scoring does not keep.
            estimate.update(low=None, high=None, interval=None)
        assert metric.model_dump() == pytest.approx(estimate, abs=1e-9), name


def test_figures_of_the_holdout_are_those_of_the_evaluation(
    trained_run: tuple[Any, RunPaths, dict[str, Any]], model: Model, tmp_path: Path
) -> None:
    _, paths, results = trained_run
    evaluation: Evaluation = results["evaluate"]
    table = pq.read_table(paths / SPLIT)
    holdout = table.filter(np.array(table["split"].to_pylist()) == "holdout")
    middle = holdout.num_rows // 2
    for name, rows in (("a", holdout.slice(0, middle)), ("b", holdout.slice(middle))):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    known = score_paths(files, model, tmp_path / "out").known_labels
    assert known is not None
    estimates = dict(evaluation.metrics)
    for name, metric in known.metrics.items():
        # The recipe has groups of several rows, whose number counts there in the intervals.
        estimates[name] = estimates[name].model_copy(
            update={"low": metric.low, "high": metric.high, "interval": metric.interval}
        )
    assert_equal_figures(known, evaluation, estimates)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([2, 3, 5]), st.integers(1, 20))
def test_figures_of_blocks_are_those_of_the_evaluation_of_all_rows(
    seed: int, rows: int, class_count: int, block_rows: int
) -> None:
    generator = np.random.default_rng(seed)
    classes = tuple("abcde"[:class_count])
    actual = generator.integers(0, class_count, rows)
    probabilities = generator.dirichlet(np.full(class_count, 0.3), rows).astype(np.float32)
    probabilities[generator.random(rows) < 0.1] = np.nan
    is_unknown = np.isnan(probabilities[:, 0])
    predicted = np.where(is_unknown, class_count, np.nan_to_num(probabilities).argmax(axis=1))
    total, in_other_order = LabelSums(), LabelSums()
    blocks = []
    for start in range(0, rows, block_rows):
        part = slice(start, start + block_rows)
        blocks.append(LabelSums.of_rows(actual[part], predicted[part], probabilities[part]))
    for forward, backward in zip(blocks, reversed(blocks), strict=True):
        total.add(forward)
        in_other_order.add(LabelSums.from_json(json.loads(json.dumps(asdict(backward)))))
    known = label_figures("label", classes, total)
    assert known is not None
    assert known == label_figures("label", classes, in_other_order)
    assert total == LabelSums.of_rows(actual, predicted, probabilities)
    names = np.array([*classes, "unknown"])
    labels = (names[actual], names[predicted], probabilities, classes)
    labeled = LabeledPredictions.of(*labels)
    estimates = metric_estimates(labeled, MetricOptions(), np.arange(rows), classes)
    assert_equal_figures(known, classification_metrics(*labels), estimates)
