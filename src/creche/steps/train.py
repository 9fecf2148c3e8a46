"""Train the network: a plain loop over tensors that already lie on the device."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from creche import networks, report
from creche.errors import DeviceError, TrainingError
from creche.places import CURVES, HISTORY, SPLIT, TRANSFORM, WEIGHTS, Places, read_json, replacing, write_json
from creche.recipe import Network, Recipe, Training
from creche.transform import Transform

READS = (SPLIT, TRANSFORM)
WRITES = (WEIGHTS, HISTORY, CURVES)

Epoch = dict[str, float]
Weights = dict[str, torch.Tensor]


def run(
    recipe: Recipe, places: Places, device: str = "auto", on_epoch: Callable[[Epoch], None] | None = None
) -> dict[str, Any]:
    """Write the weights of the epoch kept, the history and its curves."""
    where = pick(device)
    table = pq.read_table(places / SPLIT)
    transform = Transform.from_dict(read_json(places / TRANSFORM))
    # Without a validation part the holdout is only watched: the recipe then keeps the last epoch, so nothing is chosen.
    watched = "validation" if recipe.split.validation else "holdout"
    (x, y), (x_watched, y_watched) = (_tensors(table, side, recipe, transform, where) for side in ("train", watched))
    weights, history = train(x, y, x_watched, y_watched, recipe.network, len(recipe.classes), recipe.training, on_epoch)
    with replacing(places / WEIGHTS) as part:
        save_file({k: v.cpu().contiguous() for k, v in weights.items()}, part)
    write_json(places / HISTORY, history)
    with replacing(places / CURVES) as part:
        report.curves(history, watched, part)
    kept = best(history)["epoch"] if recipe.training.keep == "best" else history[-1]["epoch"]
    return {"device": where.type, "epochs": len(history), "epoch_kept": kept, "watched": watched, **history[-1]}


def train(
    x: torch.Tensor,
    y: torch.Tensor,
    x_watched: torch.Tensor,
    y_watched: torch.Tensor,
    spec: Network,
    classes: int,
    training: Training,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Weights, list[Epoch]]:
    """Weights of the epoch kept, and for each epoch its training loss, validation loss and accuracy.

    Features are (n, width) float32, labels (n,) int64. Seeded: the same arguments on the same build of torch, device
    and CPU capability give the same bits, whatever the number of threads.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    torch.manual_seed(training.seed)
    net = networks.build(spec, x.shape[1], classes).to(x.device)
    optimiser = _optimiser(net, training)
    order = torch.Generator().manual_seed(training.seed)
    x, y = x.repeat(training.repeat, 1), y.repeat(training.repeat)  # (rows, width), (rows,)
    rows = len(x)
    batch = rows if training.batch_size == "full" else training.batch_size
    if training.shuffle == "once":
        x, y = _shuffled(x, y, order)
    x_now, y_now = x, y
    history: list[Epoch] = []
    kept: Weights = {}
    for epoch in range(1, training.epochs + 1):
        if training.shuffle == "each-epoch":
            x_now, y_now = _shuffled(x, y, order)
        net.train()
        total = torch.zeros((), device=x.device)
        for start in range(0, rows, batch):
            inputs, labels = x_now[start : start + batch], y_now[start : start + batch]  # (b, width), (b,)
            optimiser.zero_grad()
            loss = cross_entropy(net(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(labels)
        net.eval()
        with torch.inference_mode():
            logits = net(x_watched)  # (m, classes)
            watched_loss = cross_entropy(logits, y_watched).item()
            accuracy = (logits.argmax(1) == y_watched).float().mean().item()
        done = {"epoch": epoch, "loss": total.item() / rows, "val_loss": watched_loss, "val_accuracy": accuracy}
        if not np.isfinite([done["loss"], done["val_loss"]]).all():
            raise TrainingError(
                f"the loss is no number any more at epoch {epoch} (training {done['loss']:g}, watched {watched_loss:g}): "
                f"lower training.learning_rate ({training.learning_rate:g})"
            )
        history.append(done)
        if training.keep == "last" or best(history) is done:
            kept = copy.deepcopy(net.state_dict())
        if on_epoch:
            on_epoch(done)
    return kept, history


def best(history: list[Epoch]) -> Epoch:
    """The first epoch of lowest validation loss."""
    return min(history, key=lambda e: e["val_loss"])


def pick(device: str) -> torch.device:
    """The device asked for; `auto` takes CUDA where there is one.

    Raises:
        DeviceError: it is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda was asked for, but torch sees no CUDA device here: use --device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _optimiser(net: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    match training.optimiser:
        case "adam":
            return torch.optim.Adam(net.parameters(), rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(net.parameters(), rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(net.parameters(), rate, momentum=training.momentum, weight_decay=decay, fused=True)


def _shuffled(x: torch.Tensor, y: torch.Tensor, order: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    permutation = torch.randperm(len(x), generator=order).to(x.device)  # drawn on the CPU: the same on every device
    return x[permutation], y[permutation]


def _tensors(
    table: pa.Table, side: str, recipe: Recipe, transform: Transform, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    part = table.filter(pa.compute.equal(table["side"], side))
    x = transform.apply({n: part[n].to_numpy() for n in recipe.features})
    y = transform.encode(part[recipe.label].to_numpy())
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
