"""A recipe of small images, written like CIFAR-10's, that a small network learns in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from creche.pipeline import run_step
from creche.project import ProjectPaths, RunPaths
from creche.provenance import md5_of
from creche.recipe import Recipe, load
from support.images import cifar
from support.projects import ROOT

# Writes the recipe with changed sections; returns it and the paths of a run.
PrepareImages = Callable[..., tuple[Recipe, RunPaths]]

TRAIN_ROWS = 400
TEST_ROWS = 200
SECTIONS: dict[str, Any] = {
    "network": {
        "kind": "cnn",
        "batch_norm": True,
        "whiten": True,
        "pooling": "max",
        "mirror_average": True,
        "hidden": [16],
        "convolutions": [
            {"channels": 8, "size": 4, "stride": 2},
            {"channels": 16, "pool": 2},
        ],
    },
    "training": {
        "optimizer": "adamw",
        "learning_rate": 0.02,
        "schedule": "one-cycle",
        "epochs": 5,
        "batch_size": 20,
        "checkpoint_selection": "last",
        "augment": {"shift": 2},
        "bias_lr_multiplier": 2,
        "checkpoint_epochs": 1,
    },
    "gate": {
        "accuracy": 0.8,
        "recall": 0.5,
        "behavior": [{"name": "m", "change": {"image": "mirror"}, "expect": "same"}],
    },
    "split": {"validation": 0.2, "holdout": {"part": "test"}},
}


def prepare_images(root: Path, **changes: Any) -> tuple[Recipe, RunPaths]:
    """Write `recipes/small.yaml` and the images it pins, if they are not there yet.

    Args:
        root: the project.
        changes: keys to change, by section of the recipe.

    Returns:
        The recipe, and the paths of a run of it.
    """
    folder = root / "cifar"
    if folder.is_dir():
        files = {path.name: md5_of(path) for path in folder.glob("*.bin")}
    else:
        files = cifar(folder, TRAIN_ROWS, TEST_ROWS)
    content = yaml.safe_load((ROOT / "recipes" / "cifar10.yaml").read_text())
    archive = root / "small.tar.gz"
    content["data"] |= {"files": files, "folder": str(folder), "url": archive.as_uri()}
    content |= SECTIONS
    for section, values in changes.items():
        content[section] = {**content[section], **values}
    (root / "recipes" / "small.yaml").write_text(yaml.safe_dump(content))
    return load("small", root), ProjectPaths.find(root).at(root / "run")


def run_steps(recipe: Recipe, paths: RunPaths, *steps: str) -> None:
    """Run steps in their order, in this process."""
    for step in steps:
        run_step(step, recipe, paths)
