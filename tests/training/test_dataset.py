"""Shards of a batch."""

import pytest
import torch

from creche.training.dataset import Shard, shard_batch
from creche.training.process_group import ProcessGroup


def shards_of(batch_indices: torch.Tensor, world_size: int) -> list[Shard]:
    ranks = range(world_size)
    return [shard_batch(batch_indices, ProcessGroup(rank, world_size)) for rank in ranks]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_shards_divide_the_batch(world_size: int) -> None:
    batch_indices = torch.tensor([9, 4, 7, 1, 8])
    shards = shards_of(batch_indices, world_size)
    indices: list[int] = []
    for shard in shards:
        assert torch.equal(shard.indices, batch_indices[shard.positions])
        indices += shard.indices[: shard.n_rows].tolist()
    assert sorted(indices) == [1, 4, 7, 8, 9]
    # So that the average over the group is the mean over the batch.
    assert sum(shard.weight for shard in shards) == pytest.approx(world_size)


def test_process_without_a_row_computes_one_with_weight_0() -> None:
    shard = shards_of(torch.tensor([9, 4]), 3)[2]
    assert (shard.n_rows, shard.weight) == (0, 0)
    assert shard.indices.tolist() == [9]
