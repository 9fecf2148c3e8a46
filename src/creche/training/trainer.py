"""Build the recipe's network and train it."""

from pathlib import Path

import torch
from torch import nn

from creche.errors import DeviceError
from creche.model import networks
from creche.model.preprocessor import Preprocessor
from creche.recipe import Recipe
from creche.records import EpochMetrics
from creche.training.checkpoint import Checkpoint
from creche.training.class_weights import class_weights
from creche.training.dataset import LabeledTensors
from creche.training.devices import CPU, set_determinism, single_thread
from creche.training.loop import train
from creche.training.metrics import OnProgress
from creche.training.process_group import SINGLE_PROCESS, ProcessGroup
from creche.training.state import Tensors


def train_network(
    recipe: Recipe,
    preprocessor: Preprocessor,
    train_rows: LabeledTensors,
    validation_rows: LabeledTensors,
    device: torch.device = CPU,
    group: ProcessGroup = SINGLE_PROCESS,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress | None = None,
    root: Path | None = None,
) -> tuple[Tensors, list[EpochMetrics]]:
    """Build the recipe's network from its seed and train it.

    Args:
        recipe: network, training and seed.
        preprocessor: fitted on the training split; it states inputs and classes of the network.
        train_rows: encoded rows to learn from.
        validation_rows: encoded rows that the validation loss is measured on.
        device: that the network computes on.
        group: this process and those that share every batch with it.
        checkpoint: where to resume from, and to save to.
        on_progress: called every half second and after each epoch.
        root: folder of the project, from which a network of one's own is imported.

    Returns:
        The weights of the selected epoch, and the metrics of every epoch.

    Raises:
        DeviceError: the device has not enough memory.
        TrainingError: the loss is not finite.
    """
    training = recipe.training
    torch.manual_seed(training.seed)
    set_determinism(training.deterministic, device)
    net = _initial_network(recipe, preprocessor, train_rows, root)
    weights = class_weights(training, preprocessor.classes, train_rows.y, device)
    # On tensors of a few rows a second thread only spins, and on a busy machine it takes six times
    # as long. A dense network's bits do not depend on the number of threads; a cnn's do.
    is_dense_on_cpu = device.type == "cpu" and not isinstance(net, networks.Cnn)
    try:
        with single_thread(is_dense_on_cpu):
            return train(
                net.to(device),
                train_rows,
                validation_rows,
                training,
                device,
                group,
                checkpoint,
                on_progress,
                weights,
            )
    except torch.OutOfMemoryError:
        batch_size = "all" if training.batch_size == "full" else training.batch_size
        raise DeviceError(
            f"{device.type} has not enough memory for batches of {batch_size} rows: "
            "lower training.batch_size, share them among more processes, or use --device cpu"
        ) from None


def _initial_network(
    recipe: Recipe, preprocessor: Preprocessor, train_rows: LabeledTensors, root: Path | None
) -> nn.Module:
    """Return the recipe's network before training, its weights drawn from torch's generator."""
    net = networks.build(recipe.network, preprocessor, root)
    if not isinstance(net, networks.Cnn):
        return net
    if recipe.network.whiten:
        net.whiten(train_rows.x)
    channels_last: nn.Module = net.to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )
    return channels_last
