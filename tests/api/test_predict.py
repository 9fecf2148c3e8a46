"""LoadedModel.predict: every kind of frame, the predictions and reasons of the engine."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.observations import with_decimal_comma
from support.projects import BIRD, ROOT

import creche
from creche.api.loaded_model import LoadedModel
from creche.errors import ContractError, DataError, UsageError
from creche.model.artifact import Model
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe
from creche.scoring.frames import predict_table

ADDED = [
    "predicted_species",
    "probability_Adelie",
    "probability_Chinstrap",
    "probability_Gentoo",
    "prediction_set",
    "ood_score",
    "model_version",
    "reasons",
]


@pytest.fixture(scope="module")
def model(trained_run: tuple[Recipe, RunPaths, object]) -> LoadedModel:
    return LoadedModel(Model(trained_run[1] / MODEL), "7")


@pytest.fixture
def birds() -> pd.DataFrame:
    """Three accepted rows with two refused ones between them, under an index of their own."""
    rows: list[dict[str, Any]] = [dict(BIRD) for _ in range(5)]
    rows[1]["island"] = "Signy"
    rows[3]["body_mass_g"] = None
    frame = pd.DataFrame(rows, index=[10, 20, 30, 40, 50])
    frame["ring"] = ["a", "b", "c", "d", "e"]
    return frame


def test_every_row_comes_back_in_order_with_its_prediction_or_its_reasons(
    model: LoadedModel, birds: pd.DataFrame
) -> None:
    before = birds.copy()
    predicted = model.predict(birds)
    pd.testing.assert_frame_equal(birds, before)
    assert list(predicted.columns) == [*birds.columns, *ADDED]
    assert predicted.index.tolist() == [10, 20, 30, 40, 50]
    assert predicted["ring"].tolist() == ["a", "b", "c", "d", "e"]
    assert predicted["predicted_species"].isna().tolist() == [False, True, False, True, False]
    assert predicted["predicted_species"].dropna().unique().tolist() == ["Chinstrap"]
    assert predicted["reasons"].notna().tolist() == [False, True, False, True, False]
    assert predicted["reasons"].tolist()[3] == "body_mass_g: missing"
    assert predicted["model_version"].dropna().unique().tolist() == ["7"]


def test_each_kind_of_frame_comes_back_as_its_own_kind_with_the_same_values(
    model: LoadedModel, birds: pd.DataFrame
) -> None:
    table = pa.Table.from_pandas(birds, preserve_index=False)
    of_pandas = model.predict(birds)
    of_polars = model.predict(pl.from_arrow(table))
    of_arrow = model.predict(table)
    assert isinstance(of_polars, pl.DataFrame)
    assert isinstance(of_arrow, pa.Table)
    rows = of_arrow.to_pylist()
    assert of_polars.to_dicts() == rows
    assert of_pandas.columns.tolist() == of_arrow.column_names
    from_pandas = pa.Table.from_pandas(of_pandas, preserve_index=False)
    assert from_pandas.select(ADDED).to_pylist() == of_arrow.select(ADDED).to_pylist()


def test_predictions_are_those_of_the_scoring_engine(model: LoadedModel) -> None:
    frame = pd.read_csv(ROOT / "examples" / "observations.csv", dtype=str)
    expected = predict_table(model.model, pa.Table.from_pandas(frame), "7")
    predicted = model.predict(frame)
    accepted = predicted[predicted["reasons"].isna()]
    assert accepted["predicted_species"].tolist() == expected.labels.to_pylist()
    refused = predicted[predicted["reasons"].notna()]
    assert refused["reasons"].tolist() == ["; ".join(texts) for texts in expected.reasons]
    assert len(accepted) + len(refused) == len(frame)


def test_cells_of_several_types_are_read_as_text(model: LoadedModel, birds: pd.DataFrame) -> None:
    birds["body_mass_g"] = [5000, 5000.0, "5000", "heavy", None]
    birds["island"] = "Dream"
    reasons = model.predict(birds)["reasons"].tolist()
    assert pd.isna(reasons[:3]).all()
    assert reasons[3] == "body_mass_g: not a number"
    assert reasons[4] == "body_mass_g: missing"


def test_table_of_which_every_row_is_refused_has_reasons_only(
    model: LoadedModel, birds: pd.DataFrame
) -> None:
    birds["island"] = "Signy"
    predicted = model.predict(birds)
    assert predicted["predicted_species"].isna().all()
    assert predicted["reasons"].str.startswith("island: ").all()


def test_table_without_rows_comes_back_without_rows(
    model: LoadedModel, birds: pd.DataFrame
) -> None:
    predicted = model.predict(birds.iloc[:0])
    assert predicted.shape == (0, len(birds.columns) + len(ADDED))


def test_what_cannot_be_predicted_is_refused_in_one_sentence(
    model: LoadedModel, birds: pd.DataFrame
) -> None:
    with pytest.raises(UsageError, match="a pandas or polars DataFrame, or a pyarrow Table"):
        model.predict([1, 2])
    with pytest.raises(ContractError, match="bill_length_mm"):
        model.predict(birds.drop(columns="bill_length_mm"))
    with pytest.raises(ContractError, match="already has a column 'reasons'"):
        model.predict(birds.assign(reasons="x"))
    with pytest.raises(ContractError, match="already has a column 'predicted_species'"):
        model.predict(model.predict(birds).drop(columns="reasons"))
    with pytest.raises(DataError, match="two columns 'ring'"):
        model.predict(pd.concat([birds, birds[["ring"]]], axis=1))


def test_one_observation_is_predicted_without_a_table(model: LoadedModel) -> None:
    prediction = model.predict_row({**BIRD, "body_mass_g": 5000})
    assert prediction.label == "Chinstrap"
    with pytest.raises(DataError, match="body_mass_g: missing"):
        model.predict_row({**BIRD, "body_mass_g": None})
    assert model.verify() == []


@pytest.mark.parametrize("length", [50.4, np.float32(50.4), "50,4"])
def test_number_has_no_decimal_comma_though_text_of_its_column_has(
    model: LoadedModel, tmp_path: Path, length: object
) -> None:
    comma_model = with_decimal_comma(model.model, "bill_length_mm", tmp_path / "model.onnx")
    prediction = LoadedModel(comma_model, "7").predict_row({**BIRD, "bill_length_mm": length})
    assert prediction == model.predict_row(BIRD)


def test_public_names_are_there_and_import_nothing_until_used() -> None:
    import subprocess

    for name in creche.__all__:
        assert getattr(creche, name) is not None, name
    script = "import creche, sys; print(sorted(m for m in sys.modules if m.startswith('creche')))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "['creche']"
    assert (Path(creche.__file__).parent / "py.typed").is_file()
