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
        ({"network": MLP}, "network.kind: cnn for an image, mlp for a table's columns"),
        ({"training": {"augment": {"shift": 40}}}, "training.augment.shift: columns.image has no more pixels than that"),
        ({"columns": {"image": {"kind": "image", "width": 32}}}, "columns.image: an image states width, height and channels"),
        ({"columns": {"part": {"kind": "number", "width": 32}}}, "columns.part: an image states width, height and channels"),
        ({"split": {"holdout": {"part": "exam"}}}, "split.holdout: 'part: exam' is no category under columns with that value"),
        ({"features": {"image": "one-hot"}}, "features.image: a image column cannot be encoded 'one-hot'"),
        ({"training": {"patience": 3}, "split": {"validation": 0}}, "training: patience needs split.validation above 0"),
        ({"training": {"optimizer": "sgd", "nesterov": True, "momentum": 0}}, "training: nesterov needs a momentum above 0"),
        ({"network": {"convolutions": [{"channels": 8, "pool": 64}]}}, "network.convolutions.0: nothing is left of the image"),
        ({"network": {"dropout": 0.5, "hidden": []}}, "network: dropout follows hidden layers"),
        ({"gate": {"slices": {"image": 0.5}}}, "gate.slices: 'image' is not a category or text under columns"),
        ({"data": {"files": {}}}, "files and folder go together with the url of an archive"),
    ],
)  # fmt: skip
def test_inconsistent_recipe_of_images_is_refused(
    changes: dict[str, Any], message: str, prepare_images: PrepareImages
) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        prepare_images(**changes)
