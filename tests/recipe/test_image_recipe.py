"""Recipes of images: a mistake is one error that names its key."""

import re
from typing import Any

import pytest
from support.image_recipes import PrepareImages

from creche.errors import RecipeError

MLP = {
    "kind": "mlp",
    "convolutions": [],
    "batch_norm": False,
    "whiten": False,
    "mirror_average": False,
    "pooling": "flatten",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"kind": "mlp", "convolutions": []}}, "network: batch_norm, whiten, mirror_average and pooling are for a cnn"),
        ({"network": MLP}, "network.kind: is mlp, and the feature 'image' is an image: use cnn"),
        ({"training": {"augment": {"shift": 40}}}, "training.augment.shift: is 40, and columns.image has 32 pixels: use a smaller shift"),
        ({"columns": {"image": {"kind": "image", "width": 32}}}, "columns.image: an image states width, height and channels"),
        ({"columns": {"part": {"kind": "number", "width": 32}}}, "columns.part: width, height, channels and resize are for an image, and the kind is number"),
        ({"split": {"holdout": {"part": "exam"}}}, "split.holdout.part: 'exam' is not among the values of columns.part: use one of"),
        ({"features": {"image": "one-hot"}}, "features.image: is one-hot, and the kind of the column is image: use standardize or {mean:"),
        ({"training": {"patience": 3}, "split": {"validation": 0}}, "training.patience: is 3, and split.validation is 0"),
        ({"training": {"optimizer": "sgd", "nesterov": True, "momentum": 0}}, "training: nesterov needs a momentum above 0"),
        ({"network": {"convolutions": [{"channels": 8, "pool": 64}]}}, "network.convolutions.0: nothing is left of the image"),
        ({"network": {"dropout": 0.5, "hidden": []}}, "network: dropout is 0.5 and hidden has no layer"),
        ({"gate": {"slices": {"image": 0.5}}}, "gate.slices: 'image' is not a category or text under columns: use one of"),
        ({"data": {"files": {}}}, "files and folder go together with the url of an archive"),
    ],
)  # fmt: skip
def test_inconsistent_recipe_of_images_is_refused(
    changes: dict[str, Any], message: str, prepare_images: PrepareImages
) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        prepare_images(**changes)
