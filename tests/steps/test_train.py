import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.processes import free_port
from support.projects import ROOT

from creche.errors import DeviceError, TrainingError
from creche.model import networks
from creche.model.encoders import PassthroughEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.pipeline.train import learn, pick
from creche.project import CHECKPOINTS, HISTORY, WEIGHTS, ProjectPaths, RunPaths, read_json
from creche.recipe import Network, Recipe, Training, load
from creche.training.distributed import Rendezvous
from creche.training.loop import (
    Checkpoint,
    EpochMetrics,
    LabeledTensors,
    Tensors,
    best,
    rate,
    train,
)

LAB = load("penguins-lab", ROOT)


def blobs(rows: int = 60, seed: int = 0) -> LabeledTensors:
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = random.normal(0, 1, (rows, 5)) + 2 * np.eye(5)[y]
    return LabeledTensors(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


def digest(weights: Tensors) -> str:
    return hashlib.sha256(
        b"".join(weights[name].numpy().tobytes() for name in sorted(weights))
    ).hexdigest()


FIVE = Preprocessor(tuple(PassthroughEncoder(f"x{i}") for i in range(5)), ("a", "b", "c"))


def fit(
    training: Training,
    rows: LabeledTensors | None = None,
    watched: LabeledTensors | None = None,
    **options: Any,
) -> tuple[Tensors, list[EpochMetrics]]:
    torch.manual_seed(training.seed)
    rows = rows or blobs()
    net = networks.build(options.pop("network", Network()), FIVE).to(rows.x.device)
    return train(net, rows, watched or blobs(30, 1), training, rows.x.device, **options)


@pytest.mark.parametrize("shuffle", ["never", "once", "each-epoch"])
def test_same_seed_gives_the_same_bits_on_any_number_of_threads(shuffle: str) -> None:
    training = Training(epochs=5, shuffle=shuffle, checkpoint_selection="last")
    threads = torch.get_num_threads()
    try:
        found = set()
        for count in (1, 2):
            torch.set_num_threads(count)
            found.add(digest(fit(training)[0]))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    assert digest(fit(training.model_copy(update={"seed": 1}))[0]) not in found


def test_weights_of_the_best_epoch_are_kept() -> None:
    training = Training(epochs=30, learning_rate=0.05, checkpoint_selection="best")
    weights, history = fit(training)
    epoch = int(best(history)["epoch"])
    assert epoch < 30
    cut, _ = fit(training.model_copy(update={"epochs": epoch, "checkpoint_selection": "last"}))
    assert digest(weights) == digest(cut)


def test_lab_recipe_is_the_lab_loop() -> None:
    """The lab's own module and loop, written out: log-softmax under cross-entropy, batches of 20 in
    file order.
    """
    rows = blobs(100)
    x, y = rows.x, rows.y
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 3),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    losses = []
    for _ in range(20):
        total = 0.0
        for i in range(0, 100, 20):
            optimizer.zero_grad()
            loss = torch.nn.CrossEntropyLoss()(
                torch.log_softmax(net(x[i : i + 20]), 1), y[i : i + 20]
            )
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / 5)
    ours = LAB.training.model_copy(update={"epochs": 20, "repeat": 1, "shuffle": "never"})
    _, history = fit(ours, rows, rows, network=LAB.network)
    assert [e["loss"] for e in history] == pytest.approx(losses, abs=1e-5)


def test_rows_are_repeated_on_the_training_side() -> None:
    rows = blobs()
    once = Training(epochs=3, shuffle="never", checkpoint_selection="last", batch_size=20)
    repeated = fit(once.model_copy(update={"repeat": 4}), rows)[0]
    by_hand = fit(once, LabeledTensors(rows.x.repeat(4, 1), rows.y.repeat(4)))[0]
    assert digest(repeated) == digest(by_hand)


def test_each_epoch_is_told() -> None:
    seen: list[EpochMetrics] = []
    _, history = fit(
        Training(epochs=4),
        follow=lambda rows, figures, epoch: seen.append({"rows": rows, **(epoch or {})}),
    )
    assert [{k: v for k, v in e.items() if k != "rows"} for e in seen] == history
    assert [e["rows"] for e in seen] == [60, 120, 180, 240]
    assert [set(e) for e in history] == [
        {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    ] * 4


def test_loss_that_is_no_number_stops_the_training_and_keeps_the_last_good_weights(
    tmp_path: Path,
) -> None:
    checkpoint = Checkpoint(tmp_path / "x.safetensors", {}, 99, 99)
    x = blobs().x
    x[40] = float("nan")
    with pytest.raises(
        TrainingError, match=r"no number any more at epoch 1, batch 2: lower training.learning_rate"
    ):
        fit(Training(shuffle="never"), LabeledTensors(x, blobs().y), checkpoint=checkpoint)
    with pytest.raises(
        TrainingError,
        match=r"at epoch [23], .* last good weights, of epoch [12] .*x.good.safetensors",
    ):
        fit(Training(optimizer="sgd", learning_rate=1e10, batch_size="full"), checkpoint=checkpoint)
    assert all(w.isfinite().all() for w in load_file(tmp_path / "x.good.safetensors").values())


def test_training_stops_when_the_loss_stops_falling() -> None:
    _, history = fit(Training(epochs=300, learning_rate=0.05, patience=3))
    assert len(history) == best(history)["epoch"] + 3 < 300


def test_learning_rate_goes_up_and_down() -> None:
    training = Training(schedule="one-cycle", learning_rate=1.0, warm_up=0.25)
    assert [rate(training, step, 8) for step in range(8)] == pytest.approx(
        [0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )


def trained(
    recipe: Recipe, paths: RunPaths, rows: int = 0, workers: int = 1
) -> "subprocess.CompletedProcess[str]":
    """The train step in a process of its own, killed after so many rows."""
    words = (recipe.name, paths.root, paths.folder, rows, workers)
    command = [sys.executable, ROOT / "tests" / "trainer.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def ready(project: Path) -> Callable[..., tuple[Recipe, RunPaths]]:
    """A recipe whose training part is changed, with all done that train reads."""

    def make(name: str = "penguins", **changes: Any) -> tuple[Recipe, RunPaths]:
        path = project / "recipes" / f"{name}.yaml"
        content = yaml.safe_load(path.read_text())
        content["training"] |= changes
        path.write_text(yaml.safe_dump(content))
        recipe, paths = load(name, project), ProjectPaths.find(project).at(project / "run")
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, paths)
        return recipe, paths

    return make


@pytest.mark.parametrize(
    "changes",
    [{"checkpoint_epochs": 4}, {"checkpoint_minutes": 0}],
    ids=["after epochs", "within an epoch"],
)
def test_killed_training_goes_on_to_the_same_bits(
    changes: dict[str, Any], ready: Callable[..., tuple[Recipe, RunPaths]]
) -> None:
    recipe, paths = ready(epochs=20, **changes)
    assert trained(recipe, paths).returncode == 0
    undisturbed = {name: (paths / name).read_bytes() for name in (WEIGHTS, HISTORY)}
    for name in undisturbed:
        (paths / name).unlink()
    killed = trained(recipe, paths, rows=10 * 180)
    assert killed.returncode == -signal.SIGKILL
    assert list((paths.home / CHECKPOINTS).iterdir())
    resumed = trained(recipe, paths)
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout) > 8 * 180  # not from the start
    assert {name: (paths / name).read_bytes() for name in undisturbed} == undisturbed
    assert not list((paths.home / CHECKPOINTS).iterdir())  # it has served


def test_team_of_two_learns_what_one_learns(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(epochs=20)
    run_step("train", recipe, paths)
    alone, history = load_file(paths / WEIGHTS), read_json(paths / HISTORY)
    run_step("train", recipe, paths, workers=2)
    together = load_file(paths / WEIGHTS)
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=1e-4)
    assert [e["loss"] for e in read_json(paths / HISTORY)] == pytest.approx(
        [e["loss"] for e in history], abs=1e-5
    )


def on_worker(rank: int, how: signal.Signals) -> Callable[..., None]:
    """Send a worker of the team a signal when the first figures come."""
    sent: list[int] = []

    def follow(*_: object) -> None:
        children = psutil.Process().children(recursive=True)
        members = [
            p
            for p in children
            if {"creche.pipeline.train"}
            == {*p.cmdline()} & {"creche.pipeline.train", "creche.training.distributed"}
        ]
        if members and not sent:
            chosen = next(p for p in members if p.environ()["RANK"] == str(rank))
            sent.append(chosen.pid)
            chosen.send_signal(how)

    return follow


def test_worker_that_is_killed_ends_the_training_and_says_so(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(epochs=100_000)
    with pytest.raises(
        TrainingError,
        match=r"worker 1 was killed by SIGKILL; start again to go on from the last checkpoint",
    ):
        run_step("train", recipe, paths, workers=2, follow=on_worker(1, signal.SIGKILL))
    assert not (paths / WEIGHTS).exists()


def test_killed_worker_is_replaced_where_the_recipe_asks(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(epochs=40, checkpoint_epochs=1)
    run_step("train", recipe, paths, workers=2)
    undisturbed = (paths / WEIGHTS).read_bytes()
    recipe, paths = ready(epochs=40, checkpoint_epochs=1, restarts=1)
    run_step("train", recipe, paths, workers=2, follow=on_worker(0, signal.SIGKILL))
    assert (paths / WEIGHTS).read_bytes() == undisturbed


def test_worker_that_hangs_ends_the_training_in_the_stated_time(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(epochs=100_000, timeout_seconds=5)
    before = {
        *psutil.Process().children(recursive=True)
    }  # other tests may have left a helper process of Python's
    with pytest.raises(
        TrainingError,
        match=r"worker 0 lost another one, or waited 5 s for it \(training.timeout_seconds\)",
    ):
        run_step("train", recipe, paths, workers=2, follow=on_worker(1, signal.SIGSTOP))
    assert not {*psutil.Process().children(recursive=True)} - before


def test_hosts_that_do_not_meet_are_told_where_and_how_long(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(timeout_seconds=5)
    with pytest.raises(TrainingError, match=r"2 hosts did not meet at 127.0.0.1:\d+ within 5 s"):
        run_step("train", recipe, paths, rendezvous=Rendezvous(2, f"127.0.0.1:{free_port()}"))


def test_training_that_had_stopped_by_itself_goes_no_further(tmp_path: Path) -> None:
    training = Training(epochs=300, learning_rate=0.05, patience=3)
    checkpoint = Checkpoint(tmp_path / "x.safetensors", {}, 1, 99)
    weights, history = fit(training, checkpoint=checkpoint)
    again, told = fit(training, checkpoint=checkpoint)  # killed before the file could be taken away
    assert (digest(again), told) == (digest(weights), history)


def test_two_hosts_are_one_team_and_go_on_from_what_one_of_them_has(
    ready: Callable[..., tuple[Recipe, RunPaths]], tmp_path: Path
) -> None:
    recipe, paths = ready(epochs=30, checkpoint_epochs=1)
    run_step("train", recipe, paths)
    alone = load_file(paths / WEIGHTS)
    with pytest.raises(TrainingError, match="was killed by SIGKILL"):
        run_step("train", recipe, paths, workers=2, follow=on_worker(1, signal.SIGKILL))
    endpoint = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "creche.cli",
        "step",
        "train",
        recipe.name,
        "--hosts",
        "2",
        "--rendezvous",
        endpoint,
    ]
    hosts = []
    for name in ("one", "two"):
        host = shutil.copytree(paths.root, tmp_path / name)
        if name == "two":
            shutil.rmtree(host / "var" / CHECKPOINTS)
        shutil.copytree(paths.folder, host / "experiments" / recipe.name)
        hosts.append(
            subprocess.Popen(
                command, cwd=host, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    told = [h.communicate(timeout=120) for h in hosts]
    assert [h.returncode for h in hosts] == [0, 0], told
    kept = [
        found
        for name in ("one", "two")
        if (found := tmp_path / name / "experiments" / recipe.name / WEIGHTS).is_file()
    ]
    assert len(kept) == 1
    assert sum("on the host of the first worker" in out for out, _ in told) == 1
    for name, weight in load_file(kept[0]).items():
        torch.testing.assert_close(weight, alone[name], atol=1e-5, rtol=1e-4)


def test_full_disk_costs_the_checkpoint_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", full], capture_output=True
        ).returncode
    ):
        pytest.skip("cannot mount a small file system here")
    try:
        (full / "filling").write_bytes(bytes(60_000))
        checkpoint = Checkpoint(full / "x.safetensors", {}, 1, 99)
        training = Training(epochs=3, checkpoint_selection="last")
        assert digest(fit(training, checkpoint=checkpoint)[0]) == digest(fit(training)[0])
        assert "no checkpoint, training goes on without" in caplog.text
        assert "No space left" in caplog.text
        assert [p.name for p in full.iterdir()] == ["filling"]
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_out_of_memory_names_the_knob() -> None:
    huge = LAB.model_copy(update={"network": Network(hidden=(200_000, 200_000))})
    with pytest.raises(
        DeviceError,
        match=r"cuda has not enough memory for batches of 20 rows: lower training.batch_size",
    ):
        learn(huge, FIVE, blobs(), blobs(), torch.device("cuda"))


def test_checkpoint_of_another_team_or_training_is_refused(
    ready: Callable[..., tuple[Recipe, RunPaths]],
) -> None:
    recipe, paths = ready(epochs=20, checkpoint_epochs=1)
    assert trained(recipe, paths, rows=5 * 180).returncode
    (kept,) = (paths.home / CHECKPOINTS).iterdir()
    with pytest.raises(
        TrainingError, match=rf"{kept} is a checkpoint of another training \(workers 1, not 2\)"
    ):
        run_step("train", recipe, paths, workers=2)
    kept.write_bytes(b"no tensors")
    with pytest.raises(
        TrainingError,
        match=rf"{kept} is no checkpoint that can be read .*: delete it to start anew",
    ):
        run_step("train", recipe, paths)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_asked_for_and_absent_is_an_error() -> None:
    with pytest.raises(DeviceError, match="device cuda was asked for, but torch sees none here"):
        pick("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_network_within_float_tolerance() -> None:
    training = Training(epochs=5, checkpoint_selection="last")
    on_cpu, on_gpu = (
        fit(training, *(LabeledTensors(r.x.to(d), r.y.to(d)) for r in (blobs(), blobs(30, 1))))[0]
        for d in ("cpu", "cuda")
    )
    for name, weight in on_cpu.items():
        torch.testing.assert_close(weight, on_gpu[name].cpu(), atol=1e-4, rtol=1e-3)
