"""The training of one run, as each process of a group does it: from the run's files to weights."""

import hashlib
import json
from typing import Literal

import torch

from creche import provenance
from creche.data import pixel_store
from creche.model.encoded_rows import encode_rows
from creche.model.preprocessor import Preprocessor
from creche.project import (
    CHECKPOINTS,
    HISTORY,
    PREPROCESSOR,
    SPLIT,
    WEIGHTS,
    RunPaths,
    atomic_write,
    read_json,
    write_json,
)
from creche.recipe import OPERATIONAL_KEYS, Recipe
from creche.training.checkpoint import Checkpoint, write_weights
from creche.training.dataset import LabeledTensors
from creche.training.metrics import OnProgress
from creche.training.process_group import ProcessGroup
from creche.training.trainer import train_network

SplitName = Literal["train", "validation", "holdout"]

# Rows are moved to a CUDA device as a whole only where they take less of its free memory.
MAX_SHARE_OF_FREE_MEMORY = 0.5


def run_job(
    recipe: Recipe,
    paths: RunPaths,
    device: torch.device,
    group: ProcessGroup,
    on_progress: OnProgress | None = None,
) -> None:
    """Train on the run's split as one process of a group; rank 0 writes weights and history.

    The checkpoint stays: the caller deletes it when everything is written.
    """
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    train_rows = _load_rows(paths, "train", recipe, preprocessor, device)
    validation_rows = _load_rows(paths, monitored_split(recipe), recipe, preprocessor, device)
    weights, history = train_network(
        recipe,
        preprocessor,
        train_rows,
        validation_rows,
        device,
        group,
        checkpoint_of(recipe, paths, device, group),
        on_progress,
        paths.root,
    )
    if not group.is_main_process:
        return
    with atomic_write(paths / WEIGHTS) as temporary:
        write_weights(weights, temporary)
    epochs = [metrics.model_dump(exclude_none=True) for metrics in history]
    write_json(paths / HISTORY, epochs)


def monitored_split(recipe: Recipe) -> SplitName:
    """Return the split that the validation loss is measured on.

    Without a validation split that is the holdout. It selects nothing: the recipe then has to take
    the weights of the last epoch. After a cross-validation all rows are for training, and the loss
    is that of the training rows.
    """
    if recipe.split.folds is not None:
        return "train"
    return "validation" if recipe.split.has_validation else "holdout"


def checkpoint_of(
    recipe: Recipe, paths: RunPaths, device: torch.device, group: ProcessGroup
) -> Checkpoint:
    """Return the checkpoint of this training.

    Its file is named by everything that decides the training's outcome, except for the number of
    processes: they are compared when it is loaded.
    """
    identity = {**_what_decides_weights(recipe, paths), "device": device.type}
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = paths.home / CHECKPOINTS / f"{recipe.name}-{digest[:16]}.pt"
    training = recipe.training
    never = training.epochs + 1
    return Checkpoint(
        path,
        {**identity, "processes": str(group.world_size)},
        every_epochs=training.checkpoint_epochs or never,
        every_seconds=training.checkpoint_minutes * 60,
    )


def training_identity(recipe: Recipe, paths: RunPaths) -> str:
    """Return the SHA-256 of what decides a training's weights, but for device and processes."""
    decisive = _what_decides_weights(recipe, paths)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _what_decides_weights(recipe: Recipe, paths: RunPaths) -> dict[str, str]:
    return {
        "recipe": _digest_of_learning(recipe),
        "rows": provenance.md5_of(paths / SPLIT),
        "preprocessor": provenance.md5_of(paths / PREPROCESSOR),
        "code": provenance.code_version(),
        "torch": str(torch.__version__),
    }


def _digest_of_learning(recipe: Recipe) -> str:
    """Return the SHA-256 of what the recipe says about network, training and label."""
    sections = recipe.model_dump(
        mode="json", include={"network": True, "training": True, "label": True}
    )
    for key in OPERATIONAL_KEYS:
        sections["training"].pop(key)
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def _load_rows(
    paths: RunPaths,
    split_name: SplitName,
    recipe: Recipe,
    preprocessor: Preprocessor,
    device: torch.device,
) -> LabeledTensors:
    """Return the encoded rows of one split, on the device if they fit into its memory."""
    columns = [*recipe.features, recipe.label]
    rows = pixel_store.read_table(paths / SPLIT, paths, columns, [split_name])
    inputs, labels = encode_rows(rows, preprocessor, recipe)
    x = torch.from_numpy(inputs)
    y = torch.from_numpy(labels)
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if x.nbytes > free_bytes * MAX_SHARE_OF_FREE_MEMORY:
            return LabeledTensors(x, y)
    return LabeledTensors(x.to(device), y.to(device))
