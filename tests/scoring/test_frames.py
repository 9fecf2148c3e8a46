"""Tables in memory: the predictions, refusals and reasons of batch scoring of the same rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.images import SIDE, dots, encoded, image_model
from support.projects import BIRD

from creche.contract import images
from creche.data.sources import find_sources
from creche.errors import ContractError, DataError
from creche.model.artifact import Model
from creche.model.metadata import QuarantineLimit
from creche.project import QUARANTINE
from creche.scoring.batch import score
from creche.scoring.frames import PredictedTable, predict_table
from creche.scoring.single_row import predict

ROWS = 3000


@pytest.fixture
def observations() -> pa.Table:
    """Observations of which some break the contract, in the units and names of another file."""
    random = np.random.default_rng(0)
    body_mass_kg = [f"{mass:.2f}" for mass in random.uniform(1.9, 6.4, ROWS)]
    body_mass_kg[7] = "heavy"
    return pa.table(
        {
            "ring": [f"r{i}" for i in range(ROWS)],
            "Island": random.choice(["Biscoe", "Dream", "Torgersen", "Signy"], ROWS),
            "bill_length_mm": random.uniform(30, 60, ROWS),
            "bill_depth_mm": pa.array(random.uniform(13, 22, ROWS), mask=random.random(ROWS) < 0.1),
            "flipper_length_mm": random.integers(170, 231, ROWS),
            "body_mass_kg": body_mass_kg,
        }
    )


def plain(table: pa.Table) -> list[dict[str, object]]:
    """Return the rows, NaN as text, which is equal to itself."""
    rows = table.to_pylist()
    for row in rows:
        for name, cell in row.items():
            row[name] = "NaN" if cell != cell else cell
    return rows


def assert_same_as_batch(predicted: PredictedTable, out: Path, predictions: str) -> None:
    written = pq.read_table(out / predictions)
    assert predicted.predictions.column_names == written.column_names
    assert plain(predicted.predictions) == plain(written)
    quarantine = pq.read_table(out / QUARANTINE).drop_columns(["source", "malformed_line"])
    refused = predicted.refused.drop_columns(["source"])
    assert refused.column_names == quarantine.column_names
    assert refused.to_pylist() == quarantine.to_pylist()


def without_batch_limit(path: Path) -> Model:
    """Return a model that accepts any share of refused rows in a batch."""
    model = Model(path)
    model.metadata = replace(model.metadata, quarantine=QuarantineLimit(1.0))
    return model


@pytest.mark.parametrize("block_rows", [17, 1000, 32_768])
def test_table_is_predicted_as_batch_scoring_does(
    model: Model,
    observations: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block_rows: int,
) -> None:
    monkeypatch.setattr("creche.data.readers.base.BATCH_ROWS", block_rows)
    pq.write_table(observations, tmp_path / "in.parquet")
    sources = find_sources([str(tmp_path / "in.parquet")])
    score(sources, without_batch_limit(model.path), "3", tmp_path / "out")
    predicted = predict_table(model, observations, "3")
    assert_same_as_batch(predicted, tmp_path / "out", "predictions.parquet")
    assert 0 < predicted.refused.num_rows < ROWS


def test_every_row_is_predicted_or_refused(model: Model, observations: pa.Table) -> None:
    predicted = predict_table(model, observations)
    row_numbers = [*predicted.row_numbers, *predicted.refused_row_numbers]
    assert sorted(row_numbers) == list(range(1, ROWS + 1))
    rings = observations["ring"].take(pa.array(predicted.row_numbers - 1))
    assert predicted.predictions["ring"].to_pylist() == rings.to_pylist()
    reasons = dict(zip(predicted.refused_row_numbers, predicted.reasons, strict=True))
    assert "body_mass_g: not a number" in reasons[8]


def test_columns_of_a_predicted_table_are_those_of_a_single_prediction(model: Model) -> None:
    predicted = predict_table(model, pa.table({name: [cell] for name, cell in BIRD.items()}))
    prediction = predict(model, BIRD)
    assert predicted.labels.to_pylist() == [prediction.label]
    probabilities = predicted.probabilities
    assert probabilities.shape == (1, len(model.classes))
    assert probabilities[0].tolist() == list(prediction.probabilities.values())
    assert predicted.ood_score.tolist() == [prediction.ood_score]
    assert predicted.prediction_sets.to_pylist() == ["|".join(prediction.prediction_set)]


@pytest.mark.parametrize("text_type", [pa.large_string(), pa.string_view()])
def test_types_of_other_libraries_change_no_prediction(
    model: Model, observations: pa.Table, text_type: pa.DataType
) -> None:
    """Pandas has large strings, Polars string views, both have chunks and dictionaries."""
    fields = []
    for field in observations.schema:
        fields.append(field.with_type(text_type) if field.type == pa.string() else field)
    other = observations.cast(pa.schema(fields))
    chunks = pa.concat_tables([other.slice(0, 1), other.slice(1, 999), other.slice(1000)])
    expected = predict_table(model, observations)
    assert plain(predict_table(model, chunks).predictions) == plain(expected.predictions)
    island = observations["Island"].dictionary_encode()
    encoded_table = observations.set_column(1, "Island", island)
    predicted = predict_table(model, encoded_table)
    assert plain(predicted.predictions) == plain(expected.predictions)


def test_table_without_rows_has_predictions_of_none(model: Model, observations: pa.Table) -> None:
    expected = predict_table(model, observations)
    predicted = predict_table(model, observations.slice(0, 0))
    assert predicted.predictions.num_rows == predicted.refused.num_rows == 0
    assert predicted.probabilities.shape == (0, len(model.classes))
    assert predicted.predictions.column_names == expected.predictions.column_names
    assert predicted.refused.column_names == expected.refused.column_names


def test_table_of_refused_rows_alone_is_not_an_error(model: Model) -> None:
    cells = {name: [cell] for name, cell in {**BIRD, "island": "Signy"}.items()}
    predicted = predict_table(model, pa.table(cells))
    assert predicted.predictions.num_rows == 0
    assert predicted.reasons == [["island: not one of Biscoe, Dream, Torgersen"]]


def test_table_that_the_contract_does_not_fit_is_refused(model: Model) -> None:
    cells = {name: [cell] for name, cell in BIRD.items()}
    with pytest.raises(ContractError, match="the table already has a column 'ood_score'"):
        predict_table(model, pa.table({**cells, "ood_score": [0.5]}))
    del cells["island"]
    with pytest.raises(ContractError, match="the table: missing column island"):
        predict_table(model, pa.table(cells))
    with pytest.raises(DataError, match="the table is empty"):
        predict_table(model, pa.table({}))


@pytest.mark.parametrize("form", ["encoded", "pixels"])
def test_images_in_a_table_are_predicted_as_batch_scoring_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    model = image_model(tmp_path / "images.onnx")
    pixels = np.stack([dots(i) for i in range(40)])
    pixels[5] = 0
    if form == "encoded":
        contents = [encoded(image) for image in pixels]
        contents[9] = encoded(dots(9, SIDE + 1))
        cells = pa.array([*contents[:20], None, *contents[20:]], pa.binary())
    else:
        cells = images.as_column(pixels)
    table = pa.table({"image": cells, "name": [f"n{i}" for i in range(len(cells))]})
    pq.write_table(table, tmp_path / "in.parquet")
    score(find_sources([str(tmp_path / "in.parquet")]), model, "file", tmp_path / "out")
    monkeypatch.setattr("creche.data.readers.base.IMAGE_BATCH_ROWS", 7)
    predicted = predict_table(model, table)
    assert_same_as_batch(predicted, tmp_path / "out", "predictions.parquet")
    assert predicted.predictions["row"].to_pylist() == predicted.row_numbers.tolist()
    assert 6 in predicted.refused_row_numbers
