"""The accuracy of a scoring whose input states the labels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.observations import score_paths
from support.projects import BIRD, PENGUINS

from creche.contract import Column, Contract
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource
from creche.model.artifact import Model
from creche.records import KnownLabels
from creche.scoring.label_column import LabelColumn, LabelCounts
from creche.scoring.manifest import summary_lines

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
    assert manifest.known_labels == KnownLabels(
        column="species", rows=manifest.scored, correct=correct
    )
    accuracy = f"accuracy {correct / manifest.scored:.4f}: {correct} of the {manifest.scored} "
    assert any(line.startswith(accuracy) for line in summary_lines(manifest))


def test_rows_without_a_class_or_prediction_do_not_count(model: Model, tmp_path: Path) -> None:
    labels = ["Chinstrap", " Chinstrap ", "Adelie", "", "Emperor"]
    lines = [HEADER, *(f"{label},{CELLS}" for label in labels)]
    quarantined = "Chinstrap," + CELLS.replace("5000", "5")
    first = tmp_path / "a.csv"
    first.write_text("\n".join([*lines, quarantined]) + "\n")
    second = tmp_path / "b.csv"
    second.write_text(f"{HEADER}\nChinstrap,{CELLS}\n")
    manifest = score_paths([first, second], model, tmp_path / "out")
    assert manifest.known_labels == KnownLabels(column="species", rows=4, correct=3)
    assert manifest.known_labels.accuracy == 0.75


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
    counts = LabelColumn(severity, reader).count(block.cells, None, predicted)
    assert counts == LabelCounts(rows=3, correct=2)


def test_no_label_column_no_accuracy(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{','.join(BIRD)}\n{CELLS}\n")
    manifest = score_paths([path], model, tmp_path / "out")
    assert manifest.known_labels is None
    assert not any("accuracy" in line for line in summary_lines(manifest))
