"""The model through mlflow.pyfunc: a DataFrame in, a DataFrame out."""

import hashlib
from pathlib import Path

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from support.images import image_model
from support.projects import BIRD

from creche.api.loaded_model import LoadedModel
from creche.api.pyfunc import PyfuncModel
from creche.errors import ContractError, DataError
from creche.model.artifact import Model
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe
from creche.registry.mlflow_model import save_mlflow_model

TrainedRun = tuple[Recipe, RunPaths, object]


@pytest.fixture(scope="module")
def model(trained_run: TrainedRun) -> Model:
    return Model(trained_run[1] / MODEL)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "model"
    save_mlflow_model(model.path, folder)
    return folder


@pytest.fixture
def birds() -> pd.DataFrame:
    rows: list[dict[str, object]] = [dict(BIRD) for _ in range(4)]
    for row in rows:
        row.update({name: float(BIRD[name]) for name in list(BIRD)[1:]})
    return pd.DataFrame(rows, index=[10, 20, 30, 40])


def test_data_frame_comes_back_as_a_data_frame(folder: Path, birds: pd.DataFrame) -> None:
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(birds)
    assert predicted.columns.tolist() == [
        "label", "probabilities", "ood_score", "prediction_set", "reasons",
    ]  # fmt: skip
    assert predicted.index.tolist() == [10, 20, 30, 40]
    assert predicted["label"].tolist() == ["Chinstrap"] * 4
    assert predicted["prediction_set"].tolist() == [["Chinstrap"]] * 4
    assert predicted["reasons"].tolist() == [""] * 4
    assert np.stack(predicted["probabilities"]).shape == (4, 3)
    # A notebook does both, whatever a model returns.
    pd.testing.assert_frame_equal(pd.DataFrame(predicted), predicted)
    assert len(pd.concat([birds, predicted], axis=1)) == 4


def test_dirty_cell_refuses_its_row_and_no_other(folder: Path, birds: pd.DataFrame) -> None:
    birds["body_mass_g"] = [5000, "heavy", 3.5, None]
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(birds)
    assert predicted["reasons"].tolist() == [
        "",
        "body_mass_g: not a number",
        "body_mass_g: below 2000 g",
        "body_mass_g: missing",
    ]
    assert predicted["label"].tolist() == ["Chinstrap", "", "", ""]
    probabilities = np.stack(predicted["probabilities"])
    assert np.isnan(probabilities).all(axis=1).tolist() == [False, True, True, True]
    assert predicted["prediction_set"].tolist() == [["Chinstrap"], [], [], []]


@pytest.mark.parametrize("cell", [True, np.True_])
def test_boolean_is_no_number(folder: Path, birds: pd.DataFrame, cell: object) -> None:
    birds["body_mass_g"] = cell
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(birds)
    assert predicted["reasons"].tolist() == ["body_mass_g: not a number"] * 4
    birds["body_mass_g"] = pd.Series([5000.0, cell, 5000.0, 5000.0], birds.index, object)
    reasons = mlflow.pyfunc.load_model(str(folder)).predict(birds)["reasons"]
    assert reasons.tolist() == ["", "body_mass_g: not a number", "", ""]


def test_predictions_are_those_of_the_python_api(
    folder: Path, model: Model, birds: pd.DataFrame
) -> None:
    birds["bill_length_mm"] = [50.4, 38.0, 46.0, 99.0]
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(birds)
    expected = LoadedModel(model, "1").predict(birds)
    assert predicted["label"].tolist() == expected["predicted_species"].fillna("").tolist()
    assert predicted["reasons"].tolist() == expected["reasons"].fillna("").tolist()
    np.testing.assert_array_equal(
        np.stack(predicted["probabilities"])[:3, 0], expected["probability_Adelie"].iloc[:3]
    )


def test_table_without_rows_comes_back_without_rows(folder: Path, birds: pd.DataFrame) -> None:
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(birds.iloc[:0])
    assert len(predicted) == 0


def test_missing_column_is_named(folder: Path, birds: pd.DataFrame) -> None:
    with pytest.raises(mlflow.MlflowException, match=r"Model is missing inputs \['island'\]"):
        mlflow.pyfunc.load_model(str(folder)).predict(birds.drop(columns="island"))


def test_images_are_predicted_from_their_pixels(tmp_path: Path) -> None:
    model = image_model(tmp_path / "images.onnx")
    save_mlflow_model(model.path, tmp_path / "model")
    (name,) = model.contract.columns
    shape = model.contract.columns[name].shape
    pixels = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    predicted = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict({name: pixels})
    assert predicted["label"].tolist() == model.predict({name: pixels}).labels.tolist()


def test_missing_image_and_doubled_column_are_named(
    tmp_path: Path, model: Model, birds: pd.DataFrame
) -> None:
    images = PyfuncModel(image_model(tmp_path / "images.onnx"))
    (name,) = images.model.contract.columns
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    message = f"no column {name}: add its pixels; the columns are picture"
    with pytest.raises(ContractError, match=message):
        images.predict({"picture": pixels})
    doubled = pd.concat([birds, birds[["island"]]], axis=1)
    with pytest.raises(DataError, match="two columns 'island'"):
        PyfuncModel(model).predict(doubled)


def test_onnx_flavor_has_the_bytes_of_the_model_file(folder: Path, model: Model) -> None:
    assert hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() == model.digest
    assert len(mlflow.onnx.load_model(str(folder)).graph.input) == 5
