"""The checkpoint of a training: saved while it runs, loaded when the same training starts again."""

import hashlib
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from creche.errors import TrainingError
from creche.project import atomic_write
from creche.records import EpochMetrics
from creche.training.process_group import SINGLE_PROCESS, ProcessGroup
from creche.training.state import Tensors, TrainingState


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one training, and how often it is saved.

    It is read with `weights_only=True`, so that nothing in it is executed.
    """

    path: Path
    identity: dict[str, str]  # what decides the training's outcome, by name
    every_epochs: int  # it is saved after so many epochs,
    every_seconds: float  # or so long after the last time

    def save(self, state: TrainingState, group: ProcessGroup = SINGLE_PROCESS) -> None:
        """Replace the file atomically. Every process of the group has to call this.

        Where the file cannot be written, a warning is logged, the file before stays, and training
        continues.
        """
        group.all_reduce(state.batch_losses)
        group.all_reduce(state.n_correct)
        if not group.is_main_process:
            # Rank 0 holds the sums from now on: they must not be added a second time.
            state.batch_losses.zero_()
            state.n_correct.zero_()
            return
        if not bool(state.batch_losses.isfinite().all()):
            # The training is about to stop: the weights of the file before are better.
            return
        contents = _Contents.of(state, self.identity)
        try:
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(contents.to_bytes())
        except OSError as error:
            logging.getLogger("creche").warning(
                "no checkpoint, training continues without: %s: %s", self.path, error
            )

    def load(self, state: TrainingState, group: ProcessGroup = SINGLE_PROCESS) -> None:
        """Restore the state from the file, if there is one. Every process has to call this.

        Raises:
            TrainingError: the file is not a checkpoint, or one of another training; or the
                processes of the group train different things.
        """
        self._delete_partial_files()
        content = self._read(group)
        if content is None:
            return
        try:
            contents = _Contents.from_bytes(content)
        except Exception as error:  # whatever unpickling of foreign bytes raises
            raise TrainingError(
                f"{self.path} is not a readable checkpoint ({type(error).__name__}): "
                "move it away to start from the beginning"
            ) from None
        self._check_identity(contents.identity)
        contents.restore(state, group)

    def rescue(self, state: TrainingState) -> Path | None:
        """Write the last good weights beside the checkpoint; None where that is impossible."""
        path = self.path.with_suffix(".good.safetensors")
        try:
            with atomic_write(path) as temporary:
                write_weights(state.selected_weights, temporary)
        except (OSError, SafetensorError):
            return None
        return path

    def delete(self) -> None:
        """Delete the file, if there is one: the training has ended."""
        self.path.unlink(missing_ok=True)

    def _delete_partial_files(self) -> None:
        # A process that was killed while it wrote the file left these.
        for partial in self.path.parent.glob(f".{self.path.name}.*.part"):
            partial.unlink(missing_ok=True)

    def _read(self, group: ProcessGroup) -> bytes | None:
        """Return the file's bytes, from whichever host has it; None where no host does."""
        content = self.path.read_bytes() if self.path.is_file() else None
        if group.world_size == 1:
            return content
        self._check_same_training(group)
        holder = torch.tensor(-1 if content is None else group.rank)
        group.all_reduce_max(holder)
        source = int(holder)
        if source < 0:
            return None
        return group.broadcast_bytes(content or b"", source)

    def _check_same_training(self, group: ProcessGroup) -> None:
        """Compare the identity over the hosts of the group, by a digest of 48 bits."""
        digest = hashlib.sha256(json.dumps(self.identity).encode()).digest()
        number = int.from_bytes(digest[:6], "big")
        # The maximum and, negated, the minimum: they are equal if all numbers are.
        bounds = torch.tensor([number, -number])
        group.all_reduce_max(bounds)
        highest, negated_lowest = bounds.tolist()
        if highest != -negated_lowest:
            raise TrainingError(
                "the hosts differ in rows, recipe or code: run the same steps before train on "
                "each of them"
            )

    def _check_identity(self, saved: dict[str, str]) -> None:
        differences = []
        for name, value in self.identity.items():
            if saved.get(name) != value:
                differences.append(f"{name} {saved.get(name)}, not {value}")
        if differences:
            raise TrainingError(
                f"{self.path} is a checkpoint of another training ({'; '.join(differences)}): "
                "continue with the same settings, or move it away to start from the beginning"
            )


@dataclass(frozen=True)
class _Contents:
    """What is in the file."""

    identity: dict[str, str]
    net: Tensors
    optimizer: dict[str, Any]
    batch_losses: Tensor
    n_correct: Tensor
    next_batch: int
    history: list[dict[str, Any]]  # records as dicts, since `weights_only` refuses classes
    selected_weights: Tensors
    cpu_rng_state: Tensor
    cuda_rng_state: Tensor | None

    @classmethod
    def of(cls, state: TrainingState, identity: dict[str, str]) -> "_Contents":
        cuda_rng_state = None
        if state.batch_losses.is_cuda:
            cuda_rng_state = torch.cuda.get_rng_state(state.batch_losses.device)
        return cls(
            identity=identity,
            net=state.net.state_dict(),
            optimizer=state.optimizer.state_dict(),
            batch_losses=state.batch_losses,
            n_correct=state.n_correct,
            next_batch=state.next_batch,
            history=[metrics.model_dump() for metrics in state.history],
            selected_weights=state.selected_weights,
            cpu_rng_state=torch.get_rng_state(),
            cuda_rng_state=cuda_rng_state,
        )

    def to_bytes(self) -> bytes:
        # Written to memory first: on a full disk torch's own writer raises an error that does not
        # name the cause.
        buffer = io.BytesIO()
        torch.save(vars(self), buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "_Contents":
        return cls(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))

    def restore(self, state: TrainingState, group: ProcessGroup) -> None:
        state.net.load_state_dict(self.net)
        state.optimizer.load_state_dict(self.optimizer)
        state.next_batch = self.next_batch
        state.history = [EpochMetrics.model_validate(metrics) for metrics in self.history]
        state.selected_weights = self.selected_weights
        if group.is_main_process:
            # These are sums over the group: see `save`.
            state.batch_losses.copy_(self.batch_losses)
            state.n_correct.copy_(self.n_correct)
        torch.set_rng_state(self.cpu_rng_state)
        if self.cuda_rng_state is not None and state.batch_losses.is_cuda:
            torch.cuda.set_rng_state(self.cuda_rng_state, state.batch_losses.device)


def write_weights(weights: Tensors, path: Path) -> None:
    """Write tensors of any device and memory order as a safetensors file."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, path)
