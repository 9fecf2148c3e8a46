"""The training loop, which each process of a group runs."""

import copy
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from creche.errors import TrainingError
from creche.model.networks import DistributedBatchNorm2d
from creche.recipe import Training
from creche.records import EpochMetrics
from creche.training.augmentation import shard_inputs
from creche.training.checkpoint import Checkpoint
from creche.training.class_weights import training_loss
from creche.training.dataset import LabeledTensors, Shard, shard_batch
from creche.training.devices import autocast
from creche.training.metrics import (
    OnProgress,
    best_epoch,
    evaluate,
    is_patience_exhausted,
)
from creche.training.optimizer import build_optimizer, set_learning_rate
from creche.training.process_group import SINGLE_PROCESS, ProcessGroup
from creche.training.schedule import BatchSchedule, epoch_permutations, learning_rate
from creche.training.state import Tensors, TrainingState

PROGRESS_SECONDS = 0.5  # between two reports of progress
# A group decides whether a checkpoint is due only after so many batches, since that costs a
# broadcast.
BATCHES_BETWEEN_BROADCASTS = 20


def train(
    net: nn.Module,
    train_rows: LabeledTensors,
    validation_rows: LabeledTensors,
    training: Training,
    device: torch.device,
    group: ProcessGroup = SINGLE_PROCESS,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensors, list[EpochMetrics]]:
    """Train a network.

    The same arguments on the same build of torch, device and CPU capability give the same bits,
    whether or not the training was resumed from a checkpoint; those of a cnn on the same number of
    threads. A process group sums in another order: the same within float tolerance, except for
    dropout.

    Args:
        net: on `device`.
        train_rows: on any device; each batch is copied to `device`.
        validation_rows: rows that nothing is learned from.
        training: the recipe's section.
        device: that the network computes on.
        group: this process and those that share every batch with it.
        checkpoint: where to resume from, and to save to.
        on_progress: called every half second and after each epoch.
        weights: of a row of each class in the loss (n_classes,), on `device`; None: all count
            alike.

    Returns:
        The weights of the selected epoch, and the metrics of every epoch.

    Raises:
        TrainingError: the loss is not finite; the last good weights are then beside the
            checkpoint.
    """
    schedule = BatchSchedule.of(len(train_rows.y), training)
    optimizer = build_optimizer(net, training)
    state = TrainingState.initial(net, optimizer, schedule.n_batches, device)
    model = net
    if group.world_size > 1:
        # Averages the gradients over the group in backward().
        model = DistributedDataParallel(net, broadcast_buffers=False)
    if checkpoint:
        checkpoint.load(state, group)
    loop = _TrainingLoop(
        model, state, schedule, training, device, group, checkpoint, on_progress, weights
    )

    for _, permutation in epoch_permutations(schedule.n_rows, training, state.epoch):
        if is_patience_exhausted(state.history, training.patience):
            break
        loop.train_epoch(train_rows, permutation)
        epoch_metrics = loop.end_epoch(validation_rows)
        loop.select_weights(epoch_metrics)
        loop.report_epoch(epoch_metrics)
        loop.save_after_epoch(epoch_metrics.epoch)
    return state.selected_weights, state.history


@dataclass(frozen=True)
class _Batch:
    """This process's shard of a batch, on the device that the network computes on."""

    step: int  # number of the batch in the whole training, from 0
    shard: Shard
    inputs: Tensor  # (b, …)
    labels: Tensor  # (b,)


@dataclass
class _TrainingLoop:
    """The phases of an epoch, in the order in which `train` calls them."""

    model: nn.Module  # the network, or what averages its gradients over the group
    state: TrainingState
    schedule: BatchSchedule
    training: Training
    device: torch.device
    group: ProcessGroup
    checkpoint: Checkpoint | None
    on_progress: OnProgress | None
    class_weights: Tensor | None  # (n_classes,)
    batch_norms: list[DistributedBatchNorm2d] = field(init=False)
    last_report: float = field(default_factory=time.monotonic)  # seconds
    last_save: float = field(default_factory=time.monotonic)  # seconds

    def __post_init__(self) -> None:
        modules = self.state.net.modules()
        self.batch_norms = [layer for layer in modules if isinstance(layer, DistributedBatchNorm2d)]

    def train_epoch(self, rows: LabeledTensors, permutation: Tensor) -> None:
        """Train on the batches of an epoch that are left, which are all unless it was resumed.

        Args:
            rows: the training rows.
            permutation: (n_rows,) of the epoch.
        """
        self.state.net.train()
        for index in range(self.state.next_batch, self.schedule.n_batches):
            batch = self._load_batch(rows, permutation, index)
            self._train_batch(batch)
            self._report_batch()
            self._save_within_epoch()

    def _load_batch(self, rows: LabeledTensors, permutation: Tensor, index: int) -> _Batch:
        """Return this process's shard of a batch of the epoch."""
        step = (self.state.epoch - 1) * self.schedule.n_batches + index
        start = index * self.schedule.batch_size
        permuted = permutation[start : start + self.schedule.batch_size]  # (B,)
        # With `training.repeat` an epoch has each row several times, as the remainder of the
        # permuted numbers.
        batch_indices = permuted % len(rows.y)  # (B,)
        shard = shard_batch(batch_indices, self.group)
        inputs = shard_inputs(rows.x, shard, self.training, step).to(self.device)  # (b, …)
        labels = rows.y[shard.indices.to(rows.y.device)].to(self.device)  # (b,)
        return _Batch(step, shard, inputs, labels)

    def _train_batch(self, batch: _Batch) -> None:
        """Update the network with a batch, and record its loss and its correct predictions."""
        state = self.state
        shard = batch.shard
        for layer in self.batch_norms:
            layer.has_rows = shard.n_rows > 0

        # Forward pass.
        smoothing = self.training.label_smoothing
        with autocast(self.training, self.device):
            logits = self.model(batch.inputs).float()  # (b, n_classes)
        loss = training_loss(logits, batch.labels, smoothing, self.class_weights)  # ()

        # Backward pass and update. The weight makes the average over the group the mean over the
        # batch, also where the shards differ in size.
        lr = learning_rate(self.training, batch.step, self.schedule.n_steps)
        set_learning_rate(state.optimizer, lr)
        state.optimizer.zero_grad()
        (loss * shard.weight).backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()

        # Record loss and accuracy without waiting for the device.
        state.batch_losses[state.next_batch] = loss.detach() * shard.n_rows
        if shard.n_rows:
            state.n_correct += (logits.argmax(1) == batch.labels).sum()
        state.next_batch += 1

    def _report_batch(self) -> None:
        """Report progress within the epoch, where the last report is long enough ago."""
        now = time.monotonic()
        if not self.on_progress or now - self.last_report <= PROGRESS_SECONDS:
            return
        self.last_report = now
        state = self.state
        self._check_finite(state.recent_losses())
        metrics = state.running_metrics(self.schedule, self.group)
        rows_before_epoch = (state.epoch - 1) * self.schedule.n_rows
        rows_of_epoch = self.schedule.rows_between(0, state.next_batch)
        self.on_progress(rows_before_epoch + rows_of_epoch, metrics, None)

    def _save_within_epoch(self) -> None:
        """Save a checkpoint within the epoch, where the last one is long enough ago."""
        next_batch = self.state.next_batch
        # A checkpoint at the end of the epoch has its metrics too.
        if not self.checkpoint or next_batch == self.schedule.n_batches:
            return
        if self.group.world_size > 1 and next_batch % BATCHES_BETWEEN_BROADCASTS:
            return
        seconds = time.monotonic() - self.last_save
        # Rank 0 decides, since clocks differ.
        if self.group.broadcast_flag(seconds > self.checkpoint.every_seconds):
            self.last_save = time.monotonic()
            self.checkpoint.save(self.state, self.group)

    def end_epoch(self, validation_rows: LabeledTensors) -> EpochMetrics:
        """Sum the training metrics over the group, compute those of the validation rows, and append
        both to the history.
        """
        state = self.state
        self.group.all_reduce(state.batch_losses)
        self.group.all_reduce(state.n_correct)
        self._check_finite(state.batch_losses)
        val_loss, val_accuracy = evaluate(
            state.net, validation_rows, self.training, self.device, self.group
        )
        self._check_finite(torch.tensor(val_loss))
        return state.end_epoch(self.schedule, self.training.log_every, val_loss, val_accuracy)

    def select_weights(self, epoch_metrics: EpochMetrics) -> None:
        """Keep a copy of the weights, where the recipe selects this epoch's."""
        is_best = best_epoch(self.state.history) is epoch_metrics
        if is_best or self.training.checkpoint_selection == "last":
            self.state.selected_weights = copy.deepcopy(self.state.net.state_dict())

    def report_epoch(self, epoch_metrics: EpochMetrics) -> None:
        """Report the metrics of an epoch that has ended."""
        if self.on_progress:
            self.on_progress(epoch_metrics.epoch * self.schedule.n_rows, {}, epoch_metrics)

    def save_after_epoch(self, epoch: int) -> None:
        """Save a checkpoint, where one is due by the number of epochs or by time."""
        if not self.checkpoint:
            return
        seconds = time.monotonic() - self.last_save
        is_due_by_epochs = epoch % self.checkpoint.every_epochs == 0
        is_due_by_time = seconds > self.checkpoint.every_seconds
        # Rank 0 decides, since clocks differ.
        if self.group.broadcast_flag(is_due_by_epochs or is_due_by_time):
            self.last_save = time.monotonic()
            self.checkpoint.save(self.state, self.group)

    def _check_finite(self, losses: Tensor) -> None:
        """Stop the training where a loss is not finite.

        Raises:
            TrainingError: names the epoch, the batch, and where the last good weights are.
        """
        if bool(losses.isfinite().all()):
            return
        state = self.state
        place = f"epoch {state.epoch}"
        bad_batches = (~state.batch_losses.isfinite()).nonzero()
        if len(bad_batches):
            place += f", batch {int(bad_batches[0, 0]) + 1}"
        else:
            place += ", on the validation rows"
        message = (
            f"the loss is not finite at {place}: lower training.learning_rate "
            f"({self.training.learning_rate:g})"
        )
        rescued = None
        if self.checkpoint and state.selected_weights:
            rescued = self.checkpoint.rescue(state)
        if rescued:
            message += (
                f"; the last good weights, of epoch {state.epoch - 1} or before, are in {rescued}"
            )
        raise TrainingError(message)
