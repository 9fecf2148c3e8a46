"""Train the network, here or in a team of processes: `python -m creche.pipeline.train REQUEST` is
one of a team.
"""

import hashlib
import json
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.distributed as dist

from creche import provenance
from creche.data import pixel_store
from creche.errors import CrecheError, DeviceError
from creche.model import networks
from creche.model.preprocessor import Preprocessor
from creche.project import (
    CHECKPOINTS,
    CURVES,
    HISTORY,
    PREPROCESSOR,
    SPLIT,
    WEIGHTS,
    RunPaths,
    atomic_write,
    read_json,
    write_json,
)
from creche.recipe import OPERATIONAL_KEYS, Recipe
from creche.reporting import report
from creche.training.distributed import Rendezvous, exit_with_parent, launch
from creche.training.loop import (
    SINGLE_PROCESS,
    Checkpoint,
    EpochMetrics,
    LabeledTensors,
    OnProgress,
    ProcessGroup,
    Tensors,
    best,
    train,
    write,
)

INPUTS = (SPLIT, PREPROCESSOR)
OUTPUTS = (WEIGHTS, HISTORY, CURVES)
CPU = torch.device("cpu")


def run(
    recipe: Recipe,
    paths: RunPaths,
    device: str = "auto",
    workers: int | None = None,
    rendezvous: Rendezvous | None = None,
    follow: OnProgress | None = None,
) -> dict[str, Any]:
    """Write the weights of the epoch kept, the history and its curves.

    Args:
        workers: processes on this host that share each batch, in place of the recipe's.
        rendezvous: with which hosts they are one team, and where all of them meet.
    """
    where = pick(device)
    workers = workers or recipe.training.workers
    if workers > 1 or rendezvous:
        for name in (
            OUTPUTS
        ):  # of an earlier training: on the host of another worker they would pass for this one's
            (paths / name).unlink(missing_ok=True)
        launch(recipe, paths, where.type, workers, rendezvous, follow)
        if not (paths / WEIGHTS).is_file():
            return {
                "device": where.type,
                "workers": workers,
                "weights": "on the host of the first worker",
            }
    else:
        fit(recipe, paths, where, SINGLE_PROCESS, follow)
    history = read_json(paths / HISTORY)
    kept = (
        best(history)["epoch"]
        if recipe.training.checkpoint_selection == "best"
        else history[-1]["epoch"]
    )
    figures = {k: v for k, v in history[-1].items() if k != "losses"}
    watched = _monitored(recipe)
    return {
        "device": where.type,
        "workers": workers,
        "epochs": len(history),
        "epoch_kept": kept,
        "watched": watched,
        **figures,
    }


def fit(
    recipe: Recipe,
    paths: RunPaths,
    device: torch.device,
    team: ProcessGroup,
    follow: OnProgress | None = None,
) -> None:
    """Train as one of a team; its first member writes."""
    table = pixel_store.read_table(paths / SPLIT, paths)
    transform = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    # Without a validation part the holdout is only watched: the recipe then keeps the last epoch,
    # so nothing is chosen.
    rows, watched = (
        _rows(table, side, recipe, transform, device) for side in ("train", _monitored(recipe))
    )
    checkpoint = _checkpoint(recipe, paths, device, team)
    weights, history = learn(recipe, transform, rows, watched, device, team, checkpoint, follow)
    if team.rank:
        return
    with atomic_write(paths / WEIGHTS) as part:
        write(weights, part)
    write_json(paths / HISTORY, history)
    with atomic_write(paths / CURVES) as part:
        report.curves(history, _monitored(recipe), part)
    checkpoint.path.unlink(missing_ok=True)


def learn(
    recipe: Recipe,
    transform: Preprocessor,
    rows: LabeledTensors,
    watched: LabeledTensors,
    device: torch.device = CPU,
    team: ProcessGroup = SINGLE_PROCESS,
    checkpoint: Checkpoint | None = None,
    follow: OnProgress | None = None,
) -> tuple[Tensors, list[EpochMetrics]]:
    """Build the recipe's network from its seed and train it; see `creche.training.loop.train`.

    Raises:
        DeviceError: the device has not enough memory.
    """
    training = recipe.training
    torch.manual_seed(training.seed)
    _set_determinism(training.deterministic, device)
    net = networks.build(recipe.network, transform)
    is_cnn = isinstance(net, networks.Cnn)
    if isinstance(net, networks.Cnn):
        if recipe.network.whiten:
            net.whiten(rows.x)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    threads = torch.get_num_threads()
    if device.type == "cpu" and not is_cnn:
        # Tensors of a few rows: a second thread only spins, and takes six times as long on a busy
        # machine. A dense network's bits do not depend on the number of threads; a CNN's do.
        torch.set_num_threads(1)
    try:
        return train(net.to(device), rows, watched, training, device, team, checkpoint, follow)
    except torch.OutOfMemoryError:
        raise DeviceError(
            f"{device.type} has not enough memory for batches of {training.batch_size} rows: "
            "lower training.batch_size, share them among more workers, or use --device cpu"
        ) from None
    finally:
        torch.set_num_threads(threads)


def _set_determinism(is_wanted: bool, device: torch.device) -> None:
    """Ask for deterministic operators where a device has others.

    All that a network of ours uses on the CPU is deterministic, and asking there imports the
    compiler (torch._inductor), which takes 1.7 s.
    """
    if device.type == "cpu":
        return
    # Only warned of, where CUDA has no such operator.
    torch.use_deterministic_algorithms(is_wanted, warn_only=True)
    # It costs time, and nothing here reads uninitialized memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _monitored(recipe: Recipe) -> str:
    return "validation" if recipe.split.validation else "holdout"


def _checkpoint(
    recipe: Recipe, paths: RunPaths, device: torch.device, team: ProcessGroup
) -> Checkpoint:
    """Where this training's checkpoint lies: called by all that decides its outcome, but for the
    team's size.
    """
    learned = recipe.model_dump(
        mode="json", include={"network": True, "training": True, "label": True}
    )
    learned["training"] = {
        k: v for k, v in learned["training"].items() if k not in OPERATIONAL_KEYS
    }
    of = {
        "recipe": hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest(),
        "rows": provenance.md5_of(paths / SPLIT),
        "transform": provenance.md5_of(paths / PREPROCESSOR),
        "code": provenance.code_version(),
        "torch": torch.__version__,
        "device": device.type,
    }
    name = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
    path = paths.home / CHECKPOINTS / f"{recipe.name}-{name}.safetensors"
    after = recipe.training.checkpoint_epochs or recipe.training.epochs + 1
    return Checkpoint(
        path, {**of, "workers": str(team.size)}, after, recipe.training.checkpoint_minutes * 60
    )


def pick(device: str) -> torch.device:
    """The device asked for; `auto` takes CUDA, or Apple's, where there is one.

    Raises:
        DeviceError: it is not there.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise DeviceError(
            f"device {device} was asked for, but torch sees none here: use --device cpu or auto"
        )
    return torch.device(device)


def _rows(
    table: pa.Table, side: str, recipe: Recipe, transform: Preprocessor, device: torch.device
) -> LabeledTensors:
    """One side's rows, on the device where they take no more than half of what is free there."""
    part = table.filter(pc.equal(table["side"], side))
    x = torch.from_numpy(
        transform.transform(
            pixel_store.model_arrays(part, recipe.contract().subset(recipe.features))
        )
    )
    y = torch.from_numpy(transform.encode_labels(part[recipe.label].to_numpy()))
    if device.type == "cuda" and x.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return LabeledTensors(x, y)
    return LabeledTensors(x.to(device), y.to(device))


def _member(request: Path) -> None:
    """One process of a team, as torchrun started it."""
    asked = read_json(request)
    recipe = Recipe.model_validate(asked["recipe"])
    root, home, folder = (Path(p) for p in asked["paths"])
    kind, local = asked["device"], int(os.environ["LOCAL_RANK"])
    exit_with_parent(os.getppid(), signal.SIGKILL)
    device = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if kind == "cuda" and local >= torch.cuda.device_count():
        raise DeviceError(
            f"{os.environ['LOCAL_WORLD_SIZE']} workers on {torch.cuda.device_count()} CUDA devices: one each at most"
        )
    if kind == "cuda":
        torch.cuda.set_device(device)
    patience = timedelta(seconds=recipe.training.timeout_seconds)
    team = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        store=_meeting_place(team, patience),
        rank=team.rank,
        world_size=team.size,
        timeout=patience,
    )

    def tell(rows: int, figures: dict[str, float], epoch: EpochMetrics | None) -> None:
        print(json.dumps([rows, figures, epoch]), flush=True)

    try:
        fit(recipe, RunPaths(root, home, folder), device, team, None if team.rank else tell)
    finally:
        dist.destroy_process_group()


def _meeting_place(team: ProcessGroup, patience: timedelta) -> Any:
    """Torchrun's store. On one host a restarted team has a part of it to itself: else it may read
    the addresses of the processes that are gone (seen with torch 2.13: "connectFullMesh failed …
    Connection refused").
    """
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(*where, team.size, team.rank == 0 and not served, patience)  # type: ignore[attr-defined]
    alone = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    prefix = f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}" if alone else "team"
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]


if __name__ == "__main__":
    logging.basicConfig(format="creche: %(message)s")
    try:
        _member(Path(sys.argv[1]))
    except CrecheError as error:
        Path(sys.argv[1]).with_name("why").write_text(str(error))
        sys.exit(1)
