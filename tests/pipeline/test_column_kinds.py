"""A table with columns of every kind, from the file to a model and its predictions."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.observations import score_paths

from creche.api.loaded_model import LoadedModel
from creche.errors import DataError
from creche.model.artifact import Model
from creche.pipeline import run_step
from creche.project import ACCEPTED, MODEL, ProjectPaths
from creche.recipe import Recipe, load
from creche.scoring import lineage
from creche.scoring.single_row import predict
from creche.scoring.writer import OutputFormat

RECIPE = """
description: a test
data: {{path: data/shop.csv, md5: {md5}}}
columns:
  color: {{kind: category, values: [Red, Dark Blue], normalize: [case, spaces]}}
  member: {{kind: boolean, true_values: [yes, ja], false_values: [no, nein], missing: allow}}
  price: {{kind: number, thousands: ",", symbols: ["$"]}}
  share: {{kind: number, symbols: ["%"]}}
  bought: {{kind: date, time_zone: Europe/Berlin, earliest: 2020-01-01, latest: 2020-12-31}}
  born: {{kind: date, formats: ["%d.%m.%Y"], missing: allow}}
  rings: {{kind: bins, edges: [8, 11]}}
  returned: {{kind: boolean}}
  part: {{kind: category, values: [exam, rest]}}
label: {label}
features:
  color: one-hot
  member: ordinal
  price: standardize
  share: standardize
  bought: date-parts
  born: {{date_parts: [month, year, elapsed]}}
group: [bought, color]
split: {{holdout: {{part: exam}}}}
training: {{epochs: 2}}
gate:
  behavior:
    - {{name: a, change: {{member: nein}}, where: {{color: RED, member: "yes"}}, expect: Y}}
    - {{name: b, change: {{bought: {{add: 3600}}}}, expect: same}}
"""
ROW = {
    "color": "RED",
    "member": "Nein",
    "price": "$1,234",
    "share": "12 %",
    "bought": "2020-05-04 12:30",
    "born": "31.12.1990",
}
# The same row as the model file takes it.
CANONICAL = {
    "color": "Red",
    "member": "false",
    "price": "1234",
    "share": "12",
    "bought": "2020-05-04T10:30:00Z",
    "born": "1990-12-31T00:00:00Z",
}


@dataclass(frozen=True)
class TrainedTable:
    """A recipe, and the model that its steps have made."""

    recipe: Recipe
    model: Model
    data: Path
    accepted: pa.Table


def write_table(path: Path, rows: int = 240) -> None:
    random = np.random.default_rng(0)
    colors = random.choice(["Red", "RED", " red", "Dark  Blue", "dark blue"], rows)
    members = random.choice(["yes", "No", "JA", "nein", "True", ""], rows)
    lines = ["color,member,price,share,bought,born,rings,returned,part"]
    for row in range(rows):
        born = datetime(1960, 1, 1) + timedelta(days=37 * row)
        cells = [
            str(colors[row]),
            str(members[row]),
            f'"${1000 + 7 * row:,}"',
            f"{row % 90} %",
            (datetime(2020, 2, 1) + timedelta(hours=5 * row)).isoformat(" "),
            "" if row % 7 == 3 else born.strftime("%d.%m.%Y"),
            str(random.integers(5, 15)),
            str(random.choice(["Y", "N"])),
            "exam" if row % 7 == 3 else "rest",
        ]
        lines.append(",".join(cells))
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def train(root: Path, label: str, recipe_text: str = RECIPE) -> TrainedTable:
    """Run the steps of a recipe that predicts a column of the table."""
    data = root / "data/shop.csv"
    write_table(data)
    md5 = hashlib.md5(data.read_bytes()).hexdigest()
    path = root / "recipes/shop.yaml"
    path.parent.mkdir()
    path.write_text(recipe_text.format(md5=md5, label=label))
    recipe = load("shop", root)
    paths = ProjectPaths.find(root).at(root / "run")
    for step in ("pull", "validate", "preprocess", "train", "export"):
        run_step(step, recipe, paths)
    return TrainedTable(recipe, Model(paths / MODEL), data, pq.read_table(paths / ACCEPTED))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedTable:
    return train(tmp_path_factory.mktemp("shop"), "returned")


def test_recipe_names_values_as_the_columns_have_them(trained: TrainedTable) -> None:
    first = trained.recipe.gate.behavior[0]
    assert (first.change, first.where) == ({"member": "false"}, {"color": "Red", "member": "true"})
    assert first.expect == "true"
    assert trained.recipe.classes == ("false", "true")


def test_dates_are_moments_in_the_accepted_rows(trained: TrainedTable) -> None:
    first = trained.accepted.slice(0, 1).to_pylist()[0]
    assert first["bought"] == datetime(2020, 1, 31, 23, tzinfo=UTC)
    assert first["born"] == datetime(1960, 1, 1, tzinfo=UTC)
    assert trained.accepted["born"].null_count > 0


def test_model_file_takes_dates_and_predicts_its_golden_rows_again(trained: TrainedTable) -> None:
    inputs = {value.name: value.type for value in trained.model.session.get_inputs()}
    assert (inputs["born"], inputs["member"]) == ("tensor(double)", "tensor(string)")
    assert trained.model.verify() == []
    statistics = json.loads(trained.model.metadata.to_properties()["creche.statistics"])
    assert statistics["columns"]["bought"]["min"] == 1580511600.0


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_scored_table_can_be_traced_and_states_its_accuracy(
    trained: TrainedTable, tmp_path: Path, output_format: OutputFormat
) -> None:
    manifest = score_paths(
        [trained.data], trained.model, tmp_path / "out", output_format=output_format
    )
    assert (manifest.scored, manifest.quarantined) == (240, 0)
    assert manifest.known_labels is not None
    assert manifest.known_labels.rows == 240
    for row in ("1", "4"):
        path = tmp_path / f"out/predictions.{output_format}"
        prediction = lineage.find_row(f"{path}:{row}")
        assert lineage.replay(trained.model, prediction).same


def test_single_row_is_predicted_like_the_batch(trained: TrainedTable) -> None:
    predicted = predict(trained.model, ROW)
    assert predict(trained.model, CANONICAL) == predicted
    frame = pd.DataFrame([ROW, {**ROW, "born": None, "member": None}])
    batch = LoadedModel(trained.model, "1").predict(frame)
    assert batch["reasons"].isna().all()
    assert batch["probability_true"][0] == pytest.approx(predicted.probabilities["true"])
    frame["bought"] = pd.to_datetime(frame["bought"])
    typed = LoadedModel(trained.model, "1").predict(frame)
    assert typed["probability_true"].tolist() == batch["probability_true"].tolist()
    missing = predict(trained.model, {**ROW, "born": "", "member": ""})
    assert batch["probability_true"][1] == pytest.approx(missing.probabilities["true"])


def test_date_beyond_its_limits_is_refused_and_unknown_to_the_graph(trained: TrainedTable) -> None:
    with pytest.raises(DataError, match="bought: after 2020-12-31"):
        predict(trained.model, {**ROW, "bought": "2021-01-01"})
    columns = {
        "color": np.array(["Red"] * 4, object),
        "member": np.array(["true", "", "true", "true"], object),
        "price": np.zeros(4),
        "share": np.zeros(4),
        "bought": np.array([1.6e9, 1.6e9, 1.7e9, np.nan]),
        "born": np.array([0.0, np.nan, 0.0, 0.0]),
    }
    labels = trained.model.predict(columns).labels
    assert (labels == "unknown").tolist() == [False, False, True, True]


def test_label_of_bins_is_trained_and_compared_with_known_numbers(tmp_path: Path) -> None:
    trained = train(tmp_path, "rings", RECIPE.replace("expect: Y", 'expect: "9"'))
    assert trained.model.classes == ("below 8", "8 to below 11", "11 or more")
    assert trained.recipe.gate.behavior[0].expect == "8 to below 11"
    manifest = score_paths([trained.data], trained.model, tmp_path / "out")
    assert manifest.known_labels is not None
    assert manifest.known_labels.rows == 240
