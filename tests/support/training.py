"""A small training on synthetic rows, and the train step in a process of its own."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from creche.model import networks
from creche.model.encoders import PassthroughEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.project import ProjectPaths, RunPaths
from creche.recipe import Network, Recipe, Training, load
from creche.records import EpochMetrics
from creche.training.dataset import LabeledTensors
from creche.training.loop import train
from creche.training.state import Tensors
from support.projects import ROOT

# Returns a recipe, its training section changed, and a run that is ready for the train step.
PrepareRun = Callable[..., tuple[Recipe, RunPaths]]

TRAIN_AND_KILL = ROOT / "tests" / "training" / "train_and_kill.py"

# Five numeric features, three classes.
FIVE_FEATURES = Preprocessor(tuple(PassthroughEncoder(f"x{i}") for i in range(5)), ("a", "b", "c"))


def prepare_run(project: Path, **changes: Any) -> tuple[Recipe, RunPaths]:
    """Change the training section of the penguins recipe, and run the steps before train."""
    path = project / "recipes" / "penguins.yaml"
    content = yaml.safe_load(path.read_text())
    content["training"] |= changes
    path.write_text(yaml.safe_dump(content))
    recipe = load("penguins", project)
    paths = ProjectPaths.find(project).at(project / "run")
    for step in ("pull", "validate", "preprocess"):
        run_step(step, recipe, paths)
    return recipe, paths


def make_blobs(n_rows: int = 60, seed: int = 0) -> LabeledTensors:
    """Draw rows of three classes, each a normal distribution around a mean of its own."""
    random = np.random.default_rng(seed)
    y = np.arange(n_rows) % 3
    x = random.normal(0, 1, (n_rows, 5)) + 2 * np.eye(5)[y]
    return LabeledTensors(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


def weights_digest(weights: Tensors) -> str:
    """Return the SHA-256 of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()


def fit_blobs(
    training: Training,
    train_rows: LabeledTensors | None = None,
    validation_rows: LabeledTensors | None = None,
    network: Network | None = None,
    **options: Any,
) -> tuple[Tensors, list[EpochMetrics]]:
    """Train a small network; the options are those of `train`."""
    train_rows = train_rows or make_blobs()
    validation_rows = validation_rows or make_blobs(30, seed=1)
    device = train_rows.x.device
    torch.manual_seed(training.seed)
    net = networks.build(network or Network(), FIVE_FEATURES).to(device)
    return train(net, train_rows, validation_rows, training, device, **options)


def train_in_subprocess(
    recipe: Recipe, paths: RunPaths, kill_after_rows: int
) -> "subprocess.CompletedProcess[str]":
    """Run the train step in a process of its own, which is killed after so many rows."""
    arguments = [recipe.name, paths.root, paths.folder, kill_after_rows]
    command = [sys.executable, TRAIN_AND_KILL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
