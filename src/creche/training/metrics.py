"""Loss and accuracy of an epoch, and what the history says about them."""

from typing import Protocol

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from creche.recipe import Training
from creche.records import EpochMetrics
from creche.training.dataset import LabeledTensors
from creche.training.devices import autocast
from creche.training.process_group import ProcessGroup

VALIDATION_BATCH_SIZE = 2048  # rows of a forward pass


class OnProgress(Protocol):
    """Called every half second, and after each epoch.

    Args of a call: rows processed since the start of the training; metrics by name, while an epoch
    is under way; metrics of an epoch that has ended.
    """

    def __call__(
        self, rows: int, metrics: dict[str, float], epoch: EpochMetrics | None
    ) -> None: ...


def best_epoch(history: list[EpochMetrics]) -> EpochMetrics:
    """Return the first epoch of lowest validation loss."""
    return min(history, key=lambda metrics: metrics.val_loss)


def is_patience_exhausted(history: list[EpochMetrics], patience: int | None) -> bool:
    """Return whether the last `patience` epochs brought no lower validation loss."""
    if not patience or not history:
        return False
    epochs_without_improvement = history[-1].epoch - best_epoch(history).epoch
    return epochs_without_improvement >= patience


def evaluate(
    net: nn.Module,
    rows: LabeledTensors,
    training: Training,
    device: torch.device,
    group: ProcessGroup,
) -> tuple[float, float]:
    """Return loss and accuracy over all rows, of which each process computes a shard."""
    net.eval()
    x_shard = rows.x[group.rank :: group.world_size]
    y_shard = rows.y[group.rank :: group.world_size]
    x_batches = torch.split(x_shard, VALIDATION_BATCH_SIZE)
    y_batches = torch.split(y_shard, VALIDATION_BATCH_SIZE)
    totals = torch.zeros(2, device=device)  # summed loss, correct predictions
    with torch.inference_mode(), autocast(training, device):
        for x, y in zip(x_batches, y_batches, strict=True):
            logits = net(x.to(device)).float()  # (b, n_classes)
            labels = y.to(device)  # (b,)
            loss = cross_entropy(logits, labels, reduction="sum")  # ()
            n_correct = (logits.argmax(1) == labels).sum()  # ()
            totals += torch.stack([loss, n_correct])
    group.all_reduce(totals)
    mean_loss, accuracy = (totals / len(rows.y)).tolist()
    return mean_loss, accuracy
