"""What the OOD scores of the holdout are worth, and the noise that they are compared with."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score

from creche.evaluation.ood import auroc, noise_rows, ood_metrics
from creche.model.artifact import Model
from creche.project import EVALUATION, MODEL, RunPaths, read_record
from creche.recipe import Recipe
from creche.records import Evaluation

TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]


@pytest.fixture(scope="module")
def model(trained_run: TrainedRun) -> Model:
    return Model(trained_run[1] / MODEL)


def test_auroc_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores, noise = random.integers(0, 9, 70) / 10, random.integers(0, 5, 200) / 10
    is_row = np.r_[np.ones(70), np.zeros(200)]
    expected = roc_auc_score(is_row, np.r_[scores, noise])
    assert auroc(scores, noise) == pytest.approx(expected)
    assert auroc(np.zeros(5), np.zeros(5)) == 0.5
    assert auroc(scores, np.zeros(0)) is None


def test_noise_is_known_to_the_model_and_the_same_each_time(model: Model) -> None:
    noise = noise_rows(model)
    assert model.predict(noise).is_known.all()
    mass = model.metadata.statistics.columns["body_mass_g"]
    assert noise["body_mass_g"].min() == pytest.approx(2000, rel=0.01)  # the limit of the recipe
    assert noise["body_mass_g"].max() > mass["max"]
    for name, values in noise_rows(model).items():
        assert (values == noise[name]).all()


def test_score_of_a_trained_model_tells_the_holdout_from_noise(trained_run: TrainedRun) -> None:
    ood = trained_run[2]["evaluate"].ood
    assert (ood.rows, ood.not_finite, ood.noise_rows) == (110, 0, 1000)
    assert ood.zero <= 5
    assert ood.auroc > 0.9


def test_images_are_told_from_pixels_at_random(trained_image_run: tuple[Recipe, RunPaths]) -> None:
    _, paths = trained_image_run
    noise = noise_rows(Model(paths / MODEL))
    assert (noise["image"].shape, noise["image"].dtype) == ((200, 32, 32, 3), np.uint8)
    assert np.unique(noise["image"]).tolist() == [0, 255]
    ood = read_record(paths / EVALUATION, Evaluation).ood
    assert ood.zero < ood.rows / 2
    assert ood.auroc > 0.6


def test_distances_that_are_no_numbers_give_scores_of_0(model: Model) -> None:
    """The gate rejects such a model by its fraction of scores of 0."""
    altered = onnx.load_from_string(model.content)
    for tensor in altered.graph.initializer:
        if tensor.name == "postprocessing/ood_whitening":
            array = numpy_helper.to_array(tensor) * np.float32(np.nan)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    broken = Model.from_bytes(altered.SerializeToString())
    columns = noise_rows(model)
    metrics = ood_metrics(broken, broken.predict(columns))
    assert metrics.zero == metrics.rows == 1000
    assert metrics.auroc == 0.5
