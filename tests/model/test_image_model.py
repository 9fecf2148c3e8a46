"""The model file of a network that was trained on images."""

import base64

import numpy as np
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file
from support.image_recipes import TEST_ROWS

from creche.contract import images
from creche.data import pixel_store
from creche.model import networks
from creche.model.artifact import Model
from creche.model.preprocessor import Preprocessor
from creche.project import MODEL, PREPROCESSOR, SPLIT, WEIGHTS, RunPaths, read_json
from creche.recipe import Recipe


def test_model_file_takes_pixels_and_predicts_as_torch_does(
    trained_image_run: tuple[Recipe, RunPaths],
) -> None:
    recipe, paths = trained_image_run
    model = Model(paths / MODEL)
    assert not model.verify()
    content = read_json(paths / PREPROCESSOR)
    del content["counts"]
    net = networks.build(recipe.network, Preprocessor.from_dict(content)).eval()
    net.load_state_dict(load_file(paths / WEIGHTS))
    holdout = pixel_store.read_table(paths / SPLIT, paths).filter(pc.field("split") == "holdout")
    pixels = images.pixels(holdout["image"], recipe.columns["image"])
    with torch.inference_mode():
        expected = net(torch.from_numpy(pixels)).softmax(1).numpy()
    predictions = model.predict({"image": pixels})
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)
    # The network averages over the image and its mirror image.
    mirrored = model.predict({"image": pixels[:, :, ::-1]})
    np.testing.assert_allclose(mirrored.probabilities, predictions.probabilities, atol=1e-5)
    encoded = model.predict_encoded({"image": pixels})
    assert (encoded.probabilities == predictions.probabilities).mean() > 0.99
    labels = [model.classes.index(label) for label in holdout["label"].to_pylist()]
    is_covered = predictions.sets[np.arange(TEST_ROWS), labels]
    assert is_covered.mean() > 0.8


def test_noise_has_a_lower_ood_score_than_the_training_images(
    trained_image_run: tuple[Recipe, RunPaths],
) -> None:
    _, paths = trained_image_run
    model = Model(paths / MODEL)
    noise = np.random.default_rng(0).choice([0, 255], (50, 32, 32, 3)).astype(np.uint8)
    split = pixel_store.read_table(paths / SPLIT, paths)
    pixels = images.pixels(split["image"], model.contract.columns["image"])
    noise_score = model.predict({"image": noise}).ood_score.mean()
    known_score = model.predict({"image": pixels}).ood_score.mean()
    assert noise_score < 0.1 < known_score


def test_golden_rows_of_images_are_pixels_in_base64(
    trained_image_run: tuple[Recipe, RunPaths],
) -> None:
    golden = Model(trained_image_run[1] / MODEL).metadata.golden
    assert {len(base64.b64decode(cell)) for cell in golden.rows["image"]} == {3072}
    assert len(set(golden.label)) == 10
