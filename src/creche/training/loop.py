"""The training loop, which each process of a group runs."""

import copy
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from creche.errors import TrainingError
from creche.model.networks import DistributedBatchNorm2d
from creche.recipe import Training
from creche.records import EpochMetrics
from creche.training.augmentation import shard_inputs
from creche.training.checkpoint import Checkpoint
from creche.training.dataset import LabeledTensors, shard_batch
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

    Returns:
        The weights of the selected epoch, and the metrics of every epoch.

    Raises:
        TrainingError: the loss is not finite; the last good weights are then beside the
            checkpoint.
    """
    schedule = BatchSchedule.of(len(train_rows.y), training)
    batch_size = schedule.batch_size
    optimizer = build_optimizer(net, training)
    state = TrainingState.initial(net, optimizer, schedule.n_batches, device)
    model = net
    if group.world_size > 1:
        # Averages the gradients over the group in backward().
        model = DistributedDataParallel(net, broadcast_buffers=False)
    batch_norms = [m for m in net.modules() if isinstance(m, DistributedBatchNorm2d)]
    if checkpoint:
        checkpoint.load(state, group)
    last_report = last_save = time.monotonic()

    for epoch, permutation in epoch_permutations(schedule.n_rows, training, state.epoch):
        if is_patience_exhausted(state.history, training.patience):
            break
        net.train()
        for i in range(state.next_batch, schedule.n_batches):
            step = (epoch - 1) * schedule.n_batches + i

            # Load this process's shard of the batch. With `training.repeat` an epoch has each row
            # several times, as the remainder of the permuted numbers.
            permuted = permutation[i * batch_size : (i + 1) * batch_size]  # (B,)
            batch_indices = permuted % len(train_rows.y)  # (B,)
            shard = shard_batch(batch_indices, group)
            inputs = shard_inputs(train_rows.x, shard, training, step).to(device)  # (b, …)
            labels = train_rows.y[shard.indices.to(train_rows.y.device)].to(device)  # (b,)
            for layer in batch_norms:
                layer.has_rows = shard.n_rows > 0

            # Forward pass.
            with autocast(training, device):
                logits = model(inputs).float()  # (b, n_classes)
            loss = cross_entropy(logits, labels, label_smoothing=training.label_smoothing)  # ()

            # Backward pass and update. The weight makes the average over the group the mean over
            # the batch, also where the shards differ in size.
            set_learning_rate(optimizer, learning_rate(training, step, schedule.n_steps))
            optimizer.zero_grad()
            (loss * shard.weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

            # Record loss and accuracy without waiting for the device.
            state.batch_losses[i] = loss.detach() * shard.n_rows
            if shard.n_rows:
                state.n_correct += (logits.argmax(1) == labels).sum()
            state.next_batch = i + 1

            # Report progress.
            now = time.monotonic()
            if on_progress and now - last_report > PROGRESS_SECONDS:
                last_report = now
                check_finite(state.recent_losses(), state, training, checkpoint)
                metrics = state.running_metrics(batch_size, group)
                on_progress(step * batch_size, metrics, None)

            # Save a checkpoint within the epoch. Rank 0 decides, since clocks differ.
            if checkpoint and may_save_within_epoch(state.next_batch, schedule.n_batches, group):
                is_due = group.broadcast_flag(now - last_save > checkpoint.every_seconds)
                if is_due:
                    last_save = now
                    checkpoint.save(state, group)

        # Sum the training metrics over the group, and compute those of the validation rows.
        group.all_reduce(state.batch_losses)
        group.all_reduce(state.n_correct)
        check_finite(state.batch_losses, state, training, checkpoint)
        val_loss, val_accuracy = evaluate(net, validation_rows, training, device, group)
        check_finite(torch.tensor(val_loss), state, training, checkpoint)
        epoch_metrics = state.end_epoch(schedule, training.log_every, val_loss, val_accuracy)

        # Keep the weights that the recipe selects.
        is_best = best_epoch(state.history) is epoch_metrics
        if is_best or training.checkpoint_selection == "last":
            state.selected_weights = copy.deepcopy(net.state_dict())
        if on_progress:
            on_progress(epoch * schedule.n_rows, {}, epoch_metrics)

        # Save a checkpoint after the epoch.
        if checkpoint:
            seconds = time.monotonic() - last_save
            is_due = epoch % checkpoint.every_epochs == 0 or seconds > checkpoint.every_seconds
            is_due = group.broadcast_flag(is_due)
            if is_due:
                last_save = time.monotonic()
                checkpoint.save(state, group)
    return state.selected_weights, state.history


def may_save_within_epoch(next_batch: int, n_batches: int, group: ProcessGroup) -> bool:
    """Return whether a checkpoint may be saved before this batch."""
    if next_batch == n_batches:
        # A checkpoint at the end of the epoch has its metrics too.
        return False
    return group.world_size == 1 or next_batch % BATCHES_BETWEEN_BROADCASTS == 0


def check_finite(
    losses: Tensor, state: TrainingState, training: Training, checkpoint: Checkpoint | None
) -> None:
    """Stop the training where a loss is not finite.

    Raises:
        TrainingError: names the epoch, the batch, and where the last good weights are.
    """
    if bool(losses.isfinite().all()):
        return
    place = f"epoch {state.epoch}"
    bad_batches = (~state.batch_losses.isfinite()).nonzero()
    if len(bad_batches):
        place += f", batch {int(bad_batches[0, 0]) + 1}"
    else:
        place += ", on the validation rows"
    message = (
        f"the loss is not finite at {place}: lower training.learning_rate "
        f"({training.learning_rate:g})"
    )
    rescued = None
    if checkpoint and state.selected_weights:
        rescued = checkpoint.rescue(state)
    if rescued:
        message += (
            f"; the last good weights, of epoch {state.epoch - 1} or before, are in {rescued}"
        )
    raise TrainingError(message)
