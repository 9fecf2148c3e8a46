"""The penguin lab's own training loop against ours, in one run: seconds, loss and accuracy.

usage: python benchmarks/lab_loop.py [TRIALS]

The lab repeats every row four times, shuffles, splits 70/30 (so nearly every test row also stands in the training
set), and feeds a DataLoader with one worker, batches of 20, no shuffle, 100 epochs of Adam 0.001. `train` gets the same
rows in the same order, so that the arithmetic is the same and only the loop differs. The honest accuracy is that of
the recipe penguins-lab: split by nest, repeated after the split.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from creche.model import networks
from creche.model.encoders import PassthroughEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline.preprocess import preprocess
from creche.pipeline.pull import pull
from creche.pipeline.validate import validate
from creche.project import ProjectPaths
from creche.recipe import load
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network

ROOT = Path(__file__).parents[1]
RECIPE = load("penguins-lab", ROOT)
ONCE = RECIPE.model_copy(
    update={"training": RECIPE.training.model_copy(update={"repeat": 1, "shuffle": "never"})}
)
FIVE = Preprocessor(tuple(PassthroughEncoder(f"x{i}") for i in range(5)), RECIPE.classes)
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class PenguinNet(nn.Module):
    """As the lab writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(5, 10), nn.Linear(10, 10), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x))))), dim=1)


def lab(
    x: torch.Tensor, y: torch.Tensor, x_test: torch.Tensor, y_test: torch.Tensor
) -> tuple[float, float]:
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(x, y), batch_size=20, num_workers=1, shuffle=False)
    tests = DataLoader(TensorDataset(x_test, y_test), batch_size=20, num_workers=1, shuffle=False)
    net, criterion = PenguinNet(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    for _ in range(100):
        total = 0.0
        net.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        net.eval()
        right = 0
        with torch.no_grad():
            for inputs, labels in tests:
                right += int((net(inputs).argmax(1) == labels).sum())
    return total / len(loader), right / len(x_test)


def ours(
    x: torch.Tensor, y: torch.Tensor, x_test: torch.Tensor, y_test: torch.Tensor
) -> tuple[float, float]:
    _, history = train_network(ONCE, FIVE, LabeledTensors(x, y), LabeledTensors(x_test, y_test))
    return history[-1].loss, history[-1].val_accuracy


def timed(
    loop: Callable[..., tuple[float, float]], data: Tensors
) -> tuple[float, tuple[float, float]]:
    start = time.perf_counter()
    result = loop(*data)
    return time.perf_counter() - start, result


def main(trials: int = 5) -> None:
    accepted = validate(pull(RECIPE.data, ProjectPaths.find(ROOT)), "penguins", RECIPE).accepted
    table, transform = preprocess(accepted, RECIPE)
    x = transform.transform({n: table[n].to_numpy() for n in RECIPE.features})
    y = transform.encode_labels(table[RECIPE.label].to_numpy())
    parts: Any = train_test_split(np.tile(x, (4, 1)), np.tile(y, 4), test_size=0.3, random_state=0)
    leaked: Tensors = tuple(torch.from_numpy(parts[i]) for i in (0, 2, 1, 3))  # type: ignore[assignment]
    copies = {row.tobytes() for row in parts[0]}
    share = np.mean([row.tobytes() in copies for row in parts[1]])
    ratios = []
    for _ in range(trials):
        slow, (lab_loss, lab_accuracy) = timed(lab, leaked)
        fast, (our_loss, our_accuracy) = timed(ours, leaked)
        ratios.append(slow / fast)
        print(f"lab {slow:6.2f} s  ours {fast:5.2f} s  ratio {slow / fast:.1f}", flush=True)
    threads = torch.get_num_threads()
    print(
        f"median ratio of {trials}: {np.median(ratios):.1f} (torch {torch.__version__}, {threads} threads)"
    )
    print(
        f"training loss at epoch 100: lab {lab_loss:.4f}, ours on the same rows in the same order {our_loss:.4f}"
    )
    print(
        f"leaked accuracy: lab {lab_accuracy:.4f}, ours {our_accuracy:.4f}; {share:.0%} of its test rows were trained on"
    )
    honest = []
    for seed in range(20):
        split = RECIPE.model_copy(update={"split": RECIPE.split.model_copy(update={"seed": seed})})
        side = preprocess(accepted, split)[0]["side"].to_numpy()
        tensors = [torch.from_numpy(a[side == s]) for s in ("train", "holdout") for a in (x, y)]
        weights, _ = train_network(
            RECIPE, transform, LabeledTensors(*tensors[:2]), LabeledTensors(*tensors[2:])
        )
        net = networks.build(RECIPE.network, transform)
        net.load_state_dict(weights)
        with torch.inference_mode():
            honest.append(float((net(tensors[2]).argmax(1) == tensors[3]).float().mean()))
    print(
        f"honest accuracy, split by nest, 20 splits: {np.mean(honest):.4f} ± {np.std(honest, ddof=1):.4f}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
