"""Training on images: reproducible, in a process group, and as in PyTorch's tutorial."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.image_recipes import PrepareImages, run_steps
from support.projects import ROOT

from creche.contract import images
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.model.artifact import Model
from creche.model.preprocessor import Preprocessor
from creche.pipeline import STEPS, run_step
from creche.project import HISTORY, MODEL, WEIGHTS, ProjectPaths, RunPaths, read_json
from creche.recipe import Recipe, load
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network


def test_same_run_gives_the_same_file(
    trained_image_run: tuple[Recipe, RunPaths], prepare_images: PrepareImages
) -> None:
    _, first = trained_image_run
    recipe, paths = prepare_images()
    run_steps(recipe, paths, *STEPS[: STEPS.index("export") + 1])
    assert (paths / WEIGHTS).read_bytes() == (first / WEIGHTS).read_bytes()
    assert Model(paths / MODEL).digest == Model(first / MODEL).digest


def test_two_processes_train_a_network_with_batch_norm_as_one_does(
    trained_image_run: tuple[Recipe, RunPaths], tmp_path: Path
) -> None:
    recipe, paths = trained_image_run
    root = shutil.copytree(paths.root, tmp_path / "copy")
    copy = ProjectPaths.find(root).at(root / paths.folder.name)
    run_step("train", recipe, copy, processes=2)
    losses = [epoch["loss"] for epoch in read_json(paths / HISTORY)]
    losses_of_two = [epoch["loss"] for epoch in read_json(copy / HISTORY)]
    assert losses_of_two == pytest.approx(losses, rel=0.01)
    weights = load_file(paths / WEIGHTS)
    weights_of_two = load_file(copy / WEIGHTS)
    for name in weights:
        torch.testing.assert_close(weights[name], weights_of_two[name], atol=0.02, rtol=0.1)


@pytest.fixture(scope="module")
def cifar_folder() -> Path:
    """The folder of the official files."""
    default = Path.home() / ".cache" / "cifar-10-batches-bin"
    folder = Path(os.environ.get("CIFAR10_DIR") or default)
    if not (folder / "test_batch.bin").is_file():
        pytest.skip("CIFAR10_DIR names no folder with the binary version of CIFAR-10")
    return folder


def test_tutorial_starts_with_the_loss_that_was_printed(cifar_folder: Path) -> None:
    """The first 4,000 batches; benchmarks/images.py trains all of them."""
    recipe = load("cifar10-tutorial", ROOT)
    table = TableReader(TableSource.local(cifar_folder), recipe.contract()).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    assert len(pixels) == 60_000
    assert not table.check(recipe.contract())
    labels = torch.tensor([recipe.classes.index(c) for c in table.values["label"].to_pylist()])
    first = {"image": pixels[:1]}
    preprocessor = Preprocessor.fit(recipe.features, recipe.classes, first, recipe.contract())
    training = recipe.training.model_copy(update={"epochs": 1, "log_every": 2000})
    torch.manual_seed(0)
    train_indices = torch.randperm(50_000)[:16_000]
    train_rows = LabeledTensors(torch.from_numpy(pixels)[train_indices], labels[train_indices])
    validation = slice(50_000, 51_000)
    validation_rows = LabeledTensors(torch.from_numpy(pixels)[validation], labels[validation])
    shorter = recipe.model_copy(update={"training": training})
    _, history = train_network(shorter, preprocessor, train_rows, validation_rows)
    assert history[0].batch_losses == pytest.approx([2.19, 1.82], abs=0.1)
