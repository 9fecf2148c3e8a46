"""The training loop, in one process or shared by several, and the checkpoint that it can be taken
up from.
"""

import copy
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from creche.errors import TrainingError
from creche.model.networks import DistributedBatchNorm2d
from creche.project import atomic_write
from creche.recipe import Augment, Training

PROGRESS_SECONDS_ = 0.5
CONSENSUS_BATCHES = 20  # after so many a team asks its first member whether a checkpoint is due
VALIDATION_BATCH_ROWS = 2048  # of a forward pass over the watched rows

EpochMetrics = dict[str, Any]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class LabeledTensors:
    """Features (n, width) float32 or pixels (n, height, width, channels) uint8, and labels (n,)
    int64, on one device.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that share every batch."""

    rank: int = 0
    size: int = 1

    def total(self, figures: Tensor) -> Tensor:
        """The sum over the team."""
        if self.size > 1:
            dist.all_reduce(figures)
        return figures

    def agree(self, said: bool) -> bool:
        """What the first member says."""
        if self.size == 1:
            return said
        return bool(self.total(torch.tensor(float(said and self.rank == 0))).item())


SINGLE_PROCESS = ProcessGroup()


class OnProgress(Protocol):
    """Is told now and then, and after each epoch, how many rows are done in all, and the figures by
    name.
    """

    def __call__(
        self, rows: int, figures: dict[str, float], epoch: EpochMetrics | None
    ) -> None: ...


@dataclass
class TrainingState:
    """All that training goes on from, beside what is stated."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    sums: Tensor  # (batches,) of this epoch: the loss summed over each batch's rows
    right: Tensor  # () rows of this epoch that were answered right, before their batch was learned from
    kept: Tensors = field(default_factory=dict)
    history: list[EpochMetrics] = field(default_factory=list)
    batch: int = 0  # of this epoch, that comes next


def train(
    net: nn.Module,
    rows: LabeledTensors,
    watched: LabeledTensors,
    training: Training,
    device: torch.device,
    team: ProcessGroup = SINGLE_PROCESS,
    checkpoint: "Checkpoint | None" = None,
    follow: OnProgress | None = None,
) -> tuple[Tensors, list[EpochMetrics]]:
    """Weights of the epoch kept, and for each epoch its training and watched loss and accuracy.

    Seeded: the same arguments on the same build of torch, device and CPU capability give the same
    bits, undisturbed or taken up from a checkpoint; of a cnn, on as many threads. A team sums in
    another order: the same within float tolerance, but for dropout. `net` lies on `device`; rows
    are fetched from wherever they lie.

    Raises:
        TrainingError: the loss is no longer a number; the last good weights then lie beside the
        checkpoint.
    """
    count = len(rows.y) * training.repeat
    size = count if training.batch_size == "full" else training.batch_size
    batches = -(-count // size)
    steps = batches * training.epochs
    model: nn.Module = (
        DistributedDataParallel(net, broadcast_buffers=False) if team.size > 1 else net
    )
    s = TrainingState(
        net,
        _optimizer(net, training),
        torch.zeros(batches, device=device),
        torch.zeros((), device=device),
    )
    if checkpoint:
        checkpoint.load(s, team)
    told = saved = time.monotonic()
    norms = [m for m in net.modules() if isinstance(m, DistributedBatchNorm2d)]
    for epoch, order in orders(count, training, len(s.history) + 1):
        if (
            training.patience
            and s.history
            and epoch - 1 - best(s.history)["epoch"] >= training.patience
        ):
            break
        net.train()
        for i in range(s.batch, batches):
            chosen = order[i * size : (i + 1) * size] % len(rows.y)
            mine = torch.arange(len(chosen))[team.rank :: team.size]
            weight = len(mine) * team.size / len(chosen)  # all weights together are the team's size
            mine = mine if len(mine) else torch.arange(1)
            for norm in norms:
                norm.present = bool(weight)
            step = (epoch - 1) * batches + i
            inputs = _inputs(rows.x, chosen, mine, training, step).to(device)  # (b, …)
            labels = rows.y[chosen[mine].to(rows.y.device)].to(device)  # (b,)
            for group in s.optimizer.param_groups:
                group["lr"] = rate(training, step, steps) * group["times"]
            s.optimizer.zero_grad()
            with _precision(training, device):
                logits = model(inputs).float()  # (b, classes)
            loss = cross_entropy(logits, labels, label_smoothing=training.label_smoothing)
            (loss if team.size == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]
            s.optimizer.step()
            s.sums[i] = loss.detach() * (len(chosen) * weight / team.size)
            s.right += (logits.argmax(1) == labels).sum() if weight else 0
            s.batch, now = i + 1, time.monotonic()
            if follow and now - told > PROGRESS_SECONDS_:
                told = now
                follow(step * size, _running(s, i, size, epoch, training, team, checkpoint), None)
            asked = (
                checkpoint
                and s.batch < batches
                and (team.size == 1 or s.batch % CONSENSUS_BATCHES == 0)
            )
            if checkpoint and asked and team.agree(now - saved > checkpoint.seconds):
                saved = now
                checkpoint.save(s, team)
        s.history.append(_epoch(s, epoch, size, count, watched, training, device, team, checkpoint))
        s.batch = 0
        s.sums.zero_(), s.right.zero_()
        if training.checkpoint_selection == "last" or best(s.history) is s.history[-1]:
            s.kept = copy.deepcopy(net.state_dict())
        if follow:
            follow(epoch * count, {}, s.history[-1])
        if checkpoint and team.agree(
            epoch % checkpoint.epochs == 0 or time.monotonic() - saved > checkpoint.seconds
        ):
            saved = time.monotonic()
            checkpoint.save(s, team)
    return s.kept, s.history


def orders(count: int, training: Training, first: int) -> Iterator[tuple[int, Tensor]]:
    """Epochs from `first` on, each with the order (count,) of its rows: drawn on the CPU, the same
    on every device.
    """
    chance = torch.Generator().manual_seed(training.seed)
    fixed = (
        torch.randperm(count, generator=chance)
        if training.shuffle == "once"
        else torch.arange(count)
    )
    for epoch in range(1, training.epochs + 1):
        order = (
            torch.randperm(count, generator=chance) if training.shuffle == "each-epoch" else fixed
        )
        if epoch >= first:
            yield epoch, order


def rate(training: Training, step: int, steps: int) -> float:
    """The learning rate of a batch, counted from 0."""
    if training.schedule == "constant":
        return training.learning_rate
    top = training.warm_up * steps
    return training.learning_rate * min((step + 1) / top, (steps - step) / (steps - top), 1.0)


def best(history: list[EpochMetrics]) -> EpochMetrics:
    """The first epoch of lowest watched loss."""
    return min(history, key=lambda e: float(e["val_loss"]))


def _inputs(x: Tensor, chosen: Tensor, mine: Tensor, training: Training, step: int) -> Tensor:
    index = chosen[mine].to(x.device)
    if training.augment == Augment():
        return x[index]
    # Seeded by the batch, so that a checkpoint need not hold it; drawn for the whole batch, so that
    # a team draws alike.
    seed = hashlib.sha256(f"{training.seed}/{step}".encode()).digest()[:7]
    chance = torch.Generator().manual_seed(int.from_bytes(seed, "big"))
    drawn = torch.rand((3, len(chosen)), generator=chance)[:, mine]  # (3, b), 0..1
    return augment(x, index, drawn.to(x.device), training.augment)


def augment(x: Tensor, index: Tensor, drawn: Tensor, how: Augment) -> Tensor:
    """Images `index` (b,) of x (n, height, width, channels), changed as `drawn` (3, b), 0..1, has
    it.
    """
    height, width, channels = x.shape[1:]
    rows, columns = (
        _moved(d, length, how.shift) for d, length in zip(drawn[:2], (height, width), strict=True)
    )
    if how.horizontal_flip:
        columns = torch.where(drawn[2][:, None] < 0.5, columns.flip(1), columns)
    flat = (index[:, None] * height + rows)[:, :, None] * width + columns[
        :, None, :
    ]  # (b, height, width)
    return x.reshape(-1, channels)[flat.flatten()].view(*flat.shape, channels)


def _moved(drawn: Tensor, length: int, shift: int) -> Tensor:
    """For each of (b,) draws the positions (b, length) that come into view; what lies outside is
    reflected.
    """
    start = (drawn * (2 * shift + 1)).long() - shift
    positions = (start[:, None] + torch.arange(length, device=drawn.device)).abs()
    return torch.where(positions < length, positions, 2 * (length - 1) - positions)


def _precision(training: Training, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, training.precision == "bfloat16")


def _running(
    s: TrainingState,
    i: int,
    size: int,
    epoch: int,
    training: Training,
    team: ProcessGroup,
    checkpoint: "Checkpoint | None",
) -> dict[str, float]:
    start = max(0, i - 50)
    loss = float(s.sums[start : i + 1].mean()) / size
    if loss != loss:
        _refuse(s, epoch, training, checkpoint)
    if team.size > 1:  # one member knows of its own rows alone
        return {"epoch": epoch}
    return {"epoch": epoch, "loss": loss, "accuracy": float(s.right) / ((i + 1) * size)}


def _epoch(
    s: TrainingState,
    epoch: int,
    size: int,
    count: int,
    watched: LabeledTensors,
    training: Training,
    device: torch.device,
    team: ProcessGroup,
    checkpoint: "Checkpoint | None",
) -> EpochMetrics:
    sums, right = team.total(s.sums), team.total(s.right)
    if not bool(sums.isfinite().all()):
        _refuse(s, epoch, training, checkpoint)
    watched_loss, accuracy = _watch(s.net, watched, training, device, team)
    done: EpochMetrics = {
        "epoch": epoch,
        "loss": sums.sum().item() / count,
        "accuracy": right.item() / count,
    }
    if every := training.log_every:
        done["batch_losses"] = [
            float(w.mean()) / size for w in torch.split(sums, every) if len(w) == every
        ]
    if not torch.tensor([watched_loss]).isfinite():
        _refuse(s, epoch, training, checkpoint)
    return {**done, "val_loss": watched_loss, "val_accuracy": accuracy}


def _watch(
    net: nn.Module,
    watched: LabeledTensors,
    training: Training,
    device: torch.device,
    team: ProcessGroup,
) -> tuple[float, float]:
    """Loss and accuracy over the watched rows, of which each of a team takes its share."""
    net.eval()
    x, y = (
        torch.split(t[team.rank :: team.size], VALIDATION_BATCH_ROWS)
        for t in (watched.x, watched.y)
    )
    found = torch.zeros(2, device=device)
    with torch.inference_mode(), _precision(training, device):
        for inputs, labels in zip(x, y, strict=True):
            logits, truth = net(inputs.to(device)).float(), labels.to(device)
            found += torch.stack(
                [cross_entropy(logits, truth, reduction="sum"), (logits.argmax(1) == truth).sum()]
            )
    loss, right = (team.total(found) / len(watched.y)).tolist()
    return loss, right


def _refuse(
    s: TrainingState, epoch: int, training: Training, checkpoint: "Checkpoint | None"
) -> None:
    bad = (~s.sums.isfinite()).nonzero()
    where = f"epoch {epoch}" + (
        f", batch {int(bad[0, 0]) + 1}" if len(bad) else ", on the watched rows"
    )
    good = checkpoint.rescue(s) if checkpoint and s.kept else None
    raise TrainingError(
        f"the loss is no number any more at {where}: lower training.learning_rate ({training.learning_rate:g})"
        + (
            f"; the last good weights, of epoch {epoch - 1} or before, are in {good}"
            if good
            else ""
        )
    )


def _optimizer(net: nn.Module, training: Training) -> torch.optim.Optimizer:
    given, decay = training.learning_rate, training.weight_decay
    learned = [p for p in net.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": learned, "times": 1.0}]
    if training.bias_lr_multiplier:
        matrices, vectors = ([p for p in learned if (p.ndim > 1) == wide] for wide in (True, False))
        groups = [
            {"params": matrices, "times": 1.0},
            {"params": vectors, "times": training.bias_lr_multiplier, "weight_decay": 0.0},
        ]
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(groups, given, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, given, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        groups, given, training.momentum, weight_decay=decay, nesterov=training.nesterov, fused=True
    )


@dataclass(frozen=True)
class Checkpoint:
    """One file that training is taken up from: tensors and JSON (safetensors), nothing that runs
    when it is read.
    """

    path: Path
    of: dict[str, Any]  # what it belongs to, by name
    epochs: int  # one after so many epochs,
    seconds: float  # or so long after the last one

    def save(self, s: TrainingState, team: ProcessGroup = SINGLE_PROCESS) -> None:
        """Replace the file in one step; where it cannot be written the one before stays, and
        training goes on.
        """
        for figures in (s.sums, s.right):
            if team.total(figures) is not None and team.rank:
                figures.zero_()  # the first member carries them from now on
        if team.rank or not bool(s.sums.isfinite().all()):
            return
        tensors = {f"net/{k}": v for k, v in s.net.state_dict().items()} | {
            f"kept/{k}": v for k, v in s.kept.items()
        }
        for i, slots in s.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v for k, v in slots.items()}
        tensors |= {"sums": s.sums, "right": s.right, "random/cpu": torch.get_rng_state()}
        if s.sums.is_cuda:
            tensors["random/cuda"] = torch.cuda.get_rng_state(s.sums.device)
        told = {"of": self.of, "history": s.history, "batch": s.batch}
        try:
            with atomic_write(self.path) as part:
                write(tensors, part, {"creche": json.dumps(told)})
        except (OSError, SafetensorError) as error:
            logging.getLogger("creche").warning(
                "no checkpoint, training goes on without: %s: %s", self.path, error
            )

    def _content(self, team: ProcessGroup) -> bytes | None:
        """The file's bytes, from whichever member of a team has it; None where nobody does."""
        for part in self.path.parent.glob(
            f".{self.path.name}.*.part"
        ):  # a kill came while it was being written
            part.unlink(missing_ok=True)
        content = self.path.read_bytes() if self.path.is_file() else None
        if team.size == 1:
            return content
        own = int.from_bytes(hashlib.sha256(json.dumps(self.of).encode()).digest()[:6], "big")
        said = torch.tensor([own, -own, team.rank if content is not None else -1])
        dist.all_reduce(said, dist.ReduceOp.MAX)
        if said[0] != -said[1]:
            raise TrainingError(
                "the hosts have other rows, recipes or code: run the same steps before train on each of them"
            )
        holder = int(said[2])
        if holder < 0:
            return None
        length = torch.tensor(len(content or b""))
        dist.broadcast(length, holder)
        data = torch.empty(int(length), dtype=torch.uint8)
        if team.rank == holder:
            data = torch.frombuffer(bytearray(content or b""), dtype=torch.uint8)
        dist.broadcast(data, holder)
        return data.numpy().tobytes()

    def load(self, s: TrainingState, team: ProcessGroup = SINGLE_PROCESS) -> None:
        """Take up what the file holds, if there is one.

        Raises:
            TrainingError: it is no checkpoint, or one of something else; or the members of a team
            train something else.
        """
        content = self._content(team)
        if content is None:
            return
        try:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            told, tensors = json.loads(header["__metadata__"]["creche"]), load(content)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self.path} is no checkpoint that can be read ({error}): delete it to start anew"
            ) from None
        if other := [
            f"{k} {told['of'].get(k)}, not {v}"
            for k, v in self.of.items()
            if told["of"].get(k) != v
        ]:
            raise TrainingError(
                f"{self.path} is a checkpoint of another training ({'; '.join(other)}): "
                "go on as that one was started, or delete it to start anew"
            )
        s.net.load_state_dict(_below("net", tensors))
        s.kept, s.history, s.batch = _below("kept", tensors), told["history"], told["batch"]
        for figures, name in ((s.sums, "sums"), (s.right, "right")):
            figures.zero_() if team.rank else figures.copy_(tensors[name])
        slots: dict[int, Tensors] = {}
        parameters = [
            p for group in s.optimizer.param_groups for p in group["params"]
        ]  # in the order of their numbers
        for key, value in _below("optimizer", tensors).items():
            i, name = key.split("/")
            like = parameters[int(i)]
            # In the memory order of the parameter, which fused optimisers take for granted.
            placed = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            slots.setdefault(int(i), {})[name] = placed.detach()
        s.optimizer.load_state_dict(
            {"state": slots, "param_groups": s.optimizer.state_dict()["param_groups"]}
        )
        torch.set_rng_state(tensors["random/cpu"])
        if s.sums.is_cuda and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], s.sums.device)

    def rescue(self, s: TrainingState) -> Path | None:
        """Keep the last good weights beside the checkpoint; None where that cannot be written."""
        path = self.path.with_suffix(".good.safetensors")
        try:
            with atomic_write(path) as part:
                write(s.kept, part)
        except (OSError, SafetensorError):
            return None
        return path


def write(tensors: Tensors, path: Path, told: dict[str, str] | None = None) -> None:
    """Tensors of any device and memory order, and texts by name, as a safetensors file."""
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path, told)


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {
        k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")
    }
