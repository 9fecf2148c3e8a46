"""The processes that share every batch, and their collectives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that share every batch.

    Every process of the group has to call a collective, in the same order. In a group of one they
    do nothing.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process is rank 0, which alone writes files and reports progress."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the group, in place, and return it."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        """Take the maximum of each element over the group, in place, and return the tensor."""
        if self.world_size > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def broadcast_flag(self, flag: bool) -> bool:
        """Return the flag of rank 0."""
        if self.world_size == 1:
            return flag
        value = torch.tensor(int(flag))
        dist.broadcast(value, src=0)
        return bool(value.item())

    def broadcast_bytes(self, content: bytes, source: int) -> bytes:
        """Return the bytes of rank `source`; the other ranks may pass any."""
        if self.world_size == 1:
            return content
        length = torch.tensor(len(content))
        dist.broadcast(length, source)
        if self.rank == source:
            # torch warns of a buffer that cannot be written to, which `bytes` is.
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        else:
            data = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(data, source)
        return data.numpy().tobytes()


SINGLE_PROCESS = ProcessGroup()


@dataclass(frozen=True)
class TorchrunEnvironment:
    """What torchrun tells a worker through environment variables."""

    rank: int
    world_size: int
    local_rank: int  # among the processes of this host
    local_world_size: int  # processes of this host
    restart_count: int
    store_host: str
    store_port: int
    agent_serves_store: bool  # torchrun itself, rather than rank 0

    @classmethod
    def read(cls) -> "TorchrunEnvironment":
        """Read the environment of a process that torchrun started."""
        return cls(
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
            local_world_size=int(os.environ["LOCAL_WORLD_SIZE"]),
            restart_count=int(os.environ["TORCHELASTIC_RESTART_COUNT"]),
            store_host=os.environ["MASTER_ADDR"],
            store_port=int(os.environ["MASTER_PORT"]),
            agent_serves_store=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )


@contextmanager
def initialized_process_group(
    environment: TorchrunEnvironment, device: torch.device, timeout: timedelta
) -> Iterator[ProcessGroup]:
    """Initialize torch.distributed for as long as the block lasts.

    Args:
        environment: of this worker.
        device: its tensors are exchanged through nccl on CUDA, and through gloo otherwise.
        timeout: how long a collective waits for the other processes.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=_store(environment, timeout),
        rank=environment.rank,
        world_size=environment.world_size,
        timeout=timeout,
    )
    try:
        yield ProcessGroup(environment.rank, environment.world_size)
    finally:
        dist.destroy_process_group()


def _store(environment: TorchrunEnvironment, timeout: timedelta) -> Any:
    """Connect to torchrun's key-value store, through which the processes find each other."""
    is_server = environment.rank == 0 and not environment.agent_serves_store
    store = dist.TCPStore(  # type: ignore[attr-defined]
        environment.store_host,
        environment.store_port,
        environment.world_size,
        is_server,
        timeout,
    )
    prefix = "workers"
    is_single_host = environment.local_world_size == environment.world_size
    if is_single_host:
        # A group that was restarted needs keys of its own: otherwise it may read the addresses of
        # the processes before it (seen with torch 2.13: "connectFullMesh failed … Connection
        # refused"). Hosts may differ in their count of restarts, so they share one prefix.
        prefix = f"attempt {environment.restart_count}"
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
