"""The state of a training: everything that it continues from, beside recipe and data."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from creche.records import EpochMetrics
from creche.training.process_group import ProcessGroup
from creche.training.schedule import BatchSchedule

Tensors = dict[str, Tensor]
RECENT_BATCHES = 50  # whose mean loss is reported while an epoch is under way


@dataclass
class TrainingState:
    """What changes while a network trains; a checkpoint holds all of it."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    # (n_batches,) of this epoch: the loss summed over the rows of each batch, of this process.
    batch_losses: Tensor
    # () rows of this epoch predicted correctly, before the network was updated with their batch.
    n_correct: Tensor
    next_batch: int = 0  # of this epoch, from 0
    history: list[EpochMetrics] = field(default_factory=list)
    selected_weights: Tensors = field(default_factory=dict)

    @classmethod
    def initial(
        cls,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        n_batches: int,
        device: torch.device,
    ) -> "TrainingState":
        """Return the state before the first batch."""
        batch_losses = torch.zeros(n_batches, device=device)
        return cls(net, optimizer, batch_losses, torch.zeros((), device=device))

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.history) + 1

    def recent_losses(self) -> Tensor:
        """Return the summed losses of the last batches of this epoch."""
        return self.batch_losses[self._first_recent_batch() : self.next_batch]

    def _first_recent_batch(self) -> int:
        return max(0, self.next_batch - RECENT_BATCHES)

    def running_metrics(self, schedule: BatchSchedule, group: ProcessGroup) -> dict[str, float]:
        """Return the metrics of the epoch under way, by name.

        In a process group there are none but the epoch: a process knows only its own shards.
        """
        if group.world_size > 1:
            return {"epoch": self.epoch}
        recent_rows = schedule.rows_between(self._first_recent_batch(), self.next_batch)
        loss = float(self.recent_losses().sum()) / recent_rows
        accuracy = float(self.n_correct) / schedule.rows_between(0, self.next_batch)
        return {"epoch": self.epoch, "loss": loss, "accuracy": accuracy}

    def end_epoch(
        self, schedule: BatchSchedule, log_every: int | None, val_loss: float, val_accuracy: float
    ) -> EpochMetrics:
        """Append the metrics of the epoch to the history, and reset what belongs to one epoch.

        `batch_losses` and `n_correct` have to be sums over the process group.
        """
        metrics = EpochMetrics(
            epoch=self.epoch,
            loss=self.batch_losses.sum().item() / schedule.n_rows,
            accuracy=self.n_correct.item() / schedule.n_rows,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
        )
        if log_every:
            metrics.batch_losses = _window_means(self.batch_losses, log_every, schedule)
        self.history.append(metrics)
        self.next_batch = 0
        self.batch_losses.zero_()
        self.n_correct.zero_()
        return metrics


def _window_means(batch_losses: Tensor, every: int, schedule: BatchSchedule) -> list[float]:
    """Return the mean loss of every `every` batches; fewer batches at the end are left out."""
    means = []
    for end in range(every, schedule.n_batches + 1, every):
        first = end - every
        rows = schedule.rows_between(first, end)
        means.append(float(batch_losses[first:end].sum()) / rows)
    return means
