"""Training rows as tensors, and the shard of a batch that one process computes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from creche.training.process_group import ProcessGroup


@dataclass(frozen=True)
class LabeledTensors:
    """Features (n, width) float32 or pixels (n, height, width, channels) uint8, and labels (n,)
    int64, on one device.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Shard:
    """The rows of a batch that one process computes.

    A process without a row of the batch takes its first row with weight 0, because it has to take
    part in the collectives of the backward pass.
    """

    indices: Tensor  # (b,) int64, rows of the data set
    positions: Tensor  # (b,) int64, where these rows are in the whole batch
    batch_size: int  # rows of the whole batch
    n_rows: int  # rows of the batch that are in this shard, 0 or more
    weight: float  # share of the batch × world size: the mean over the group is 1


def shard_batch(batch_indices: Tensor, group: ProcessGroup) -> Shard:
    """Take every `world_size`-th row of a batch, from the rank's on.

    Args:
        batch_indices: (B,) int64, rows of the data set.
        group: the process and its group.
    """
    batch_size = len(batch_indices)
    positions = torch.arange(batch_size)[group.rank :: group.world_size]  # (b,)
    n_rows = len(positions)
    weight = n_rows * group.world_size / batch_size
    if n_rows == 0:
        positions = torch.arange(1)
    return Shard(batch_indices[positions], positions, batch_size, n_rows, weight)
