"""Training on CIFAR-10: the tutorial's own loop as the reference, our recipes, teams, checkpoints, and what pays.

usage: CIFAR10_DIR=… python benchmarks/images.py [PART …]     (default: all of them, in this order)

loop      the tutorial's loop to the letter (Dataset of PIL images, ToTensor, Normalize, DataLoader with batches of 4 and two
          workers, SGD), 2 epochs: seconds, losses every 2,000 batches. Always first: all else is told beside it.
tutorial  recipes/cifar10-tutorial.yaml: the same arithmetic in our loop; losses, accuracy, times faster
fast      the same CNN, its first convolution whitened, in one epoch of other settings: times faster, for 54 %
best      recipes/cifar10.yaml, reading its data and starting included: accuracy and seconds, over SEEDS
team      two processes against one, the fast settings, one epoch
resume    killed half-way and started again, against undisturbed
pays      seconds of an epoch of recipes/cifar10.yaml on 10,000 images without bfloat16, without channels last, with
          torch.compile, and without deterministic operators; and the share of its time that fetching and augmenting takes
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from creche.contract import images
from creche.data import pixel_store
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.model import networks
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.pipeline.evaluate import measure
from creche.project import HISTORY, MODEL, ProjectPaths, read_json
from creche.recipe import Recipe, load
from creche.training import loop as training_loop
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network

ROOT = Path(__file__).parents[1]
TUTORIAL, BEST = load("cifar10-tutorial", ROOT), load("cifar10", ROOT)
FAST = {
    "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "schedule": "one-cycle", "warm_up": 0.05,
    "batch_size": 48, "epochs": 1, "log_every": None,
}  # fmt: skip
SEEDS = 2
PARTS = ("tutorial", "fast", "best", "team", "resume", "pays")


class Images(Dataset[tuple[torch.Tensor, int]]):
    """As torchvision's CIFAR10 gives them: each image through PIL, one at a time."""

    def __init__(self, pixels: np.ndarray, labels: list[int]) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[place])), self.labels[place]


class Net(nn.Module):
    """As the tutorial writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool, self.conv2 = (
            nn.Conv2d(3, 6, 5),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 16, 5),
        )
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(16 * 5 * 5, 120),
            nn.Linear(120, 84),
            nn.Linear(84, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(functional.relu(self.fc2(x)))  # type: ignore[no-any-return]


def loop(train: LabeledTensors, test: LabeledTensors) -> float:
    start = time.perf_counter()
    torch.manual_seed(0)
    loader = DataLoader(
        Images(train.x.numpy(), train.y.tolist()), batch_size=4, shuffle=True, num_workers=2
    )
    net, criterion, losses = Net(), nn.CrossEntropyLoss(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for _ in range(2):
        running = 0.0
        for i, (inputs, labels) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if i % 2000 == 1999:
                losses.append(running / 2000)
                running = 0.0
    seconds = time.perf_counter() - start
    with torch.no_grad():
        scaled = (test.x.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        right = (net(scaled).argmax(1) == test.y).float().mean().item()
    print(f"loop: {seconds:.1f} s, {right:.2%}; losses {said(losses)}", flush=True)
    return seconds


def said(losses: list[float]) -> str:
    return " ".join(f"{loss:.2f}" for loss in losses)


def data() -> tuple[LabeledTensors, LabeledTensors, Preprocessor]:
    folder = Path(os.environ["CIFAR10_DIR"])
    table = TableReader(TableSource.local(folder), TUTORIAL.contract()).read_all()
    pixels = images.pixels(table.values["image"], TUTORIAL.columns["image"])
    labels = torch.tensor([TUTORIAL.classes.index(c) for c in table.values["label"].to_pylist()])
    columns = {"image": pixels[:50_000]}
    contract = TUTORIAL.contract()
    fitted = Preprocessor.fit(TUTORIAL.features, TUTORIAL.classes, columns, contract)
    parts = (
        LabeledTensors(torch.from_numpy(pixels[p]), labels[p])
        for p in (slice(50_000), slice(50_000, None))
    )
    return *parts, fitted


def changed(recipe: Recipe, **training: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)})


@contextmanager
def run_of(recipe: Recipe) -> Iterator[ProjectPaths]:
    """A run with all done that train reads."""
    with tempfile.TemporaryDirectory() as name:
        paths = ProjectPaths(ROOT, Path(name), Path(name) / "run")
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, paths)
        yield paths


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


def tutorial(
    reference: float, train: LabeledTensors, test: LabeledTensors, fitted: Preprocessor
) -> None:
    seconds, (_, history) = timed(lambda: train_network(TUTORIAL, fitted, train, test))
    losses = [loss for epoch in history for loss in epoch.batch_losses or []]
    print(
        f"tutorial: {seconds:.1f} s, {reference / seconds:.1f} times faster, {history[-1].val_accuracy:.2%}; {said(losses)}"
    )


def fast(
    reference: float, train: LabeledTensors, test: LabeledTensors, fitted: Preprocessor
) -> None:
    few = LabeledTensors(test.x[:100], test.y[:100])
    whitened = TUTORIAL.model_copy(
        update={"network": TUTORIAL.network.model_copy(update={"whiten": True})}
    )
    for seed in range(SEEDS):  # without its look at the test images, as the loop's time is
        seconds, (weights, _) = timed(
            lambda s=seed: train_network(changed(whitened, seed=s, **FAST), fitted, train, few)
        )
        net = networks.build(whitened.network, fitted)
        net.load_state_dict(weights)
        with torch.inference_mode():
            right = (net(test.x).argmax(1) == test.y).float().mean().item()
        print(
            f"fast, seed {seed}: {seconds:.1f} s, {reference / seconds:.1f} times faster, {right:.2%}",
            flush=True,
        )


def best(reference: float, *_: Any) -> None:
    found = []
    for seed in range(SEEDS):
        recipe = changed(BEST, seed=seed)
        with run_of(recipe) as paths:
            seconds, _done = timed(lambda r=recipe, p=paths: run_step("train", r, p))
            run_step("export", recipe, paths)
            accuracy = measure(
                paths / MODEL, pixel_store.read_table(paths / "split.parquet", paths), recipe
            )[0]["accuracy"]
        found.append(accuracy)
        print(
            f"best, seed {seed}: {accuracy:.2%} in {seconds:.1f} s, {seconds / reference:.2f} of the loop's time",
            flush=True,
        )
    print(f"best, {SEEDS} seeds: {np.mean(found):.2%} ± {np.std(found, ddof=1):.2%}")


def team(_: float, *__: Any) -> None:
    recipe = changed(TUTORIAL, **{**FAST, "epochs": 3, "batch_size": 256})
    with run_of(recipe) as paths:
        alone, together = (
            timed(lambda w=w: run_step("train", recipe, paths, processes=w))[0] for w in (1, 2)
        )
    print(
        f"team: two processes take {together / alone:.2f} of the time of one, starting them included ({alone:.1f} s)"
    )


def resume(_: float, *__: Any) -> None:
    content = yaml.safe_load((ROOT / "recipes" / "cifar10.yaml").read_text())
    content["training"] |= {"epochs": 2, "checkpoint_epochs": 1}
    recipe = changed(BEST, epochs=2, checkpoint_epochs=1)
    with run_of(recipe) as paths:
        file = paths.home / "cifar10.yaml"
        file.write_text(yaml.safe_dump(content))
        rows = sum(read_json(paths / "transform.json")["counts"]["train"].values())
        words = [
            sys.executable,
            ROOT / "tests" / "training" / "train_and_kill.py",
            file,
            ROOT,
            paths.folder,
        ]
        undisturbed = timed(lambda: run_alone(paths, *words, 0, 1))[0]
        digest = (paths / HISTORY).read_bytes()
        seconds = timed(lambda: [run_alone(paths, *words, n, 1) for n in (rows + 1, 0)])[0]
        same = (paths / HISTORY).read_bytes() == digest
    print(
        f"resume: killed in the second of two epochs and started again {seconds / undisturbed:.2f} of undisturbed; same: {same}"
    )


def run_alone(paths: ProjectPaths, *words: Any) -> None:
    subprocess.run(
        [str(w) for w in words],
        env={**os.environ, "CRECHE_HOME": str(paths.home)},
        capture_output=True,
    )


def pays(_: float, train: LabeledTensors, test: LabeledTensors, fitted: Preprocessor) -> None:
    few = LabeledTensors(train.x[:10_000], train.y[:10_000])
    columns = {"image": few.x.numpy()}
    fitted = Preprocessor.fit(BEST.features, BEST.classes, columns, BEST.contract())
    base = changed(BEST, epochs=1)
    spent = [0.0]
    fetch = training_loop.shard_inputs

    def clocked(*given: Any) -> torch.Tensor:
        seconds, found = timed(lambda: fetch(*given))
        spent[0] += seconds
        return found  # type: ignore[no-any-return]

    def epoch(recipe: Recipe) -> float:
        return min(
            timed(
                lambda: train_network(
                    recipe, fitted, few, LabeledTensors(test.x[:100], test.y[:100])
                )
            )[0]
            for _ in range(3)
        )

    reference = epoch(base)
    training_loop.shard_inputs = clocked
    whole = epoch(base)
    training_loop.shard_inputs = fetch
    print(
        f"pays: an epoch of 10,000 images takes {reference:.1f} s; fetching and augmenting {spent[0] / 3 / whole:.1%} of it"
    )
    print(
        f"pays: float32 in place of bfloat16 {epoch(changed(base, precision='float32')) / reference:.2f}"
    )
    print(
        f"pays: without deterministic operators {epoch(changed(base, deterministic=False)) / reference:.2f}"
    )
    place = nn.Module.to
    nn.Module.to = lambda net, *a, **k: net if "memory_format" in k else place(net, *a, **k)  # type: ignore[method-assign]
    print(f"pays: weights not in channels-last order {epoch(base) / reference:.2f}")
    nn.Module.to = place  # type: ignore[method-assign]
    build = networks.build
    networks.build = lambda *given: torch.compile(build(*given))  # type: ignore[assignment,return-value]
    first = timed(
        lambda: train_network(base, fitted, few, LabeledTensors(test.x[:100], test.y[:100]))
    )[0]
    print(
        f"pays: torch.compile, compiling included {first / reference:.2f}, once compiled {epoch(base) / reference:.2f}"
    )
    networks.build = build


def main(*wanted: str) -> None:
    if "CIFAR10_DIR" not in os.environ:
        sys.exit("CIFAR10_DIR names no folder with the binary version of CIFAR-10")
    train, test, fitted = data()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        flush=True,
    )
    reference = loop(train, test)
    for part in wanted or PARTS:
        {
            "tutorial": tutorial,
            "fast": fast,
            "best": best,
            "team": team,
            "resume": resume,
            "pays": pays,
        }[part](reference, train, test, fitted)


if __name__ == "__main__":
    main(*sys.argv[1:])
