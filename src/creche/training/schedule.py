"""Batches of an epoch, epoch permutations and the learning-rate schedule."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from creche.recipe import Training


@dataclass(frozen=True)
class BatchSchedule:
    """The batches of an epoch, and of the whole training."""

    n_rows: int  # of an epoch, each row as often as `training.repeat` has it
    batch_size: int  # rows; the last batch of an epoch may have fewer
    n_batches: int  # of an epoch
    n_steps: int  # batches of all epochs

    @classmethod
    def of(cls, n_train_rows: int, training: Training) -> "BatchSchedule":
        """Divide the rows of an epoch into batches."""
        n_rows = n_train_rows * training.repeat
        batch_size = n_rows if training.batch_size == "full" else training.batch_size
        n_batches = math.ceil(n_rows / batch_size)
        return cls(n_rows, batch_size, n_batches, n_batches * training.epochs)

    def rows_between(self, first: int, end: int) -> int:
        """Return the rows of the batches of an epoch from `first` on, before `end`."""
        return min(end * self.batch_size, self.n_rows) - first * self.batch_size


def epoch_permutations(
    n_rows: int, training: Training, first_epoch: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield each epoch, from `first_epoch` on, with the permutation (n_rows,) of its rows.

    It is drawn on the CPU, so that it is the same on every device.
    """
    generator = torch.Generator().manual_seed(training.seed)
    permutation = torch.arange(n_rows)
    if training.shuffle == "once":
        permutation = torch.randperm(n_rows, generator=generator)
    for epoch in range(1, training.epochs + 1):
        if training.shuffle == "each-epoch":
            # Also for the epochs before a checkpoint: the generator has to advance.
            permutation = torch.randperm(n_rows, generator=generator)
        if epoch >= first_epoch:
            yield epoch, permutation


def learning_rate(training: Training, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    if training.schedule == "constant":
        return training.learning_rate
    n_warm_up = training.warm_up * n_steps
    increasing = (step + 1) / n_warm_up
    decreasing = (n_steps - step) / (n_steps - n_warm_up)
    return training.learning_rate * min(increasing, decreasing, 1.0)
