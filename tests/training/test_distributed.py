"""Training in a process group, with workers that are killed, hang or do not meet."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from support.processes import free_port
from support.projects import new_project
from support.training import PrepareRun
from support.training import prepare_run as prepare_run_in

from creche.errors import TrainingError
from creche.pipeline import run_step
from creche.project import CHECKPOINTS, HISTORY, WEIGHTS, ProjectPaths, RunPaths, read_json
from creche.recipe import Recipe
from creche.records import NonZeroRankResult, TrainingReport
from creche.training.distributed import PROGRESS_PREFIX, Rendezvous, _relay_progress

# Class weights too are the same however the rows are shared.
TRAINING = {"epochs": 40, "checkpoint_epochs": 1, "class_weights": "balanced"}


def signal_worker(rank: int, sent_signal: signal.Signals) -> Callable[..., None]:
    """Return an `on_progress` that sends a worker a signal at the first report."""
    signaled_pids: list[int] = []

    def on_progress(*_: object) -> None:
        if signaled_pids:
            return
        for process in psutil.Process().children(recursive=True):
            command = process.cmdline()
            # The command of torchrun names the worker module too.
            is_worker = (
                "creche.training.worker" in command and "creche.training.distributed" not in command
            )
            if is_worker and process.environ()["RANK"] == str(rank):
                signaled_pids.append(process.pid)
                process.send_signal(sent_signal)
                return

    return on_progress


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunPaths]:
    """A run that two processes have trained undisturbed."""
    root = new_project(tmp_path_factory.mktemp("two") / "project")
    recipe, paths = prepare_run_in(root, **TRAINING)
    run_step("train", recipe, paths, processes=2)
    return recipe, paths


def test_two_processes_train_the_network_of_one(
    trained_by_two: tuple[Recipe, RunPaths], prepare_run: PrepareRun
) -> None:
    _, paths_of_two = trained_by_two
    recipe, paths = prepare_run(**TRAINING)
    run_step("train", recipe, paths)
    weights = load_file(paths / WEIGHTS)
    weights_of_two = load_file(paths_of_two / WEIGHTS)
    for name, weight in weights.items():
        torch.testing.assert_close(weights_of_two[name], weight, atol=1e-5, rtol=1e-4)
    losses = [epoch["loss"] for epoch in read_json(paths / HISTORY)]
    losses_of_two = [epoch["loss"] for epoch in read_json(paths_of_two / HISTORY)]
    assert losses_of_two == pytest.approx(losses, abs=1e-5)


def test_lines_that_libraries_print_are_not_taken_for_progress() -> None:
    report = json.dumps([20, {"epoch": 1, "loss": 0.5}, None])
    lines = ["[Gloo] Rank 0 is connected\n", "[1, 2]\n", f"{PROGRESS_PREFIX}{report}\n"]
    rows_reported: list[int] = []
    _relay_progress(lines, lambda rows, metrics, epoch: rows_reported.append(rows))
    assert rows_reported == [20]


def test_killed_worker_ends_the_training_with_a_message(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=100_000)
    with pytest.raises(
        TrainingError,
        match=r"worker 1 was killed by SIGKILL; run the step again to resume from the last "
        "checkpoint",
    ):
        run_step("train", recipe, paths, processes=2, on_progress=signal_worker(1, signal.SIGKILL))
    assert not (paths / WEIGHTS).exists()


def test_killed_worker_is_restarted_where_the_recipe_has_restarts(
    trained_by_two: tuple[Recipe, RunPaths], prepare_run: PrepareRun
) -> None:
    recipe, paths = prepare_run(**TRAINING, restarts=1)
    run_step("train", recipe, paths, processes=2, on_progress=signal_worker(0, signal.SIGKILL))
    assert (paths / WEIGHTS).read_bytes() == (trained_by_two[1] / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_hanging_worker_ends_the_training_after_the_timeout(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=100_000, timeout_seconds=5)
    # Other tests may have left a helper process of Python's.
    children_before = {*psutil.Process().children(recursive=True)}
    with pytest.raises(
        TrainingError,
        match=r"worker 0 lost the connection to another worker, or waited 5 s for it "
        r"\(training.timeout_seconds\)",
    ):
        run_step("train", recipe, paths, processes=2, on_progress=signal_worker(1, signal.SIGSTOP))
    assert not {*psutil.Process().children(recursive=True)} - children_before


def test_hosts_that_do_not_meet_end_with_endpoint_and_timeout(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(timeout_seconds=5)
    rendezvous = Rendezvous(2, f"127.0.0.1:{free_port()}")
    with pytest.raises(TrainingError, match=r"2 hosts did not meet at 127.0.0.1:\d+ within 5 s"):
        run_step("train", recipe, paths, rendezvous=rendezvous)


def test_two_hosts_train_the_network_of_one_host(
    trained_by_two: tuple[Recipe, RunPaths], tmp_path: Path
) -> None:
    recipe, paths = trained_by_two
    rendezvous = Rendezvous(2, f"127.0.0.1:{free_port()}")
    hosts = []
    for name in ("one", "two"):
        root = shutil.copytree(paths.root, tmp_path / name)
        hosts.append(ProjectPaths.find(root).at(root / "run"))

    def train(host: RunPaths) -> TrainingReport | NonZeroRankResult:
        report: TrainingReport | NonZeroRankResult = run_step(
            "train", recipe, host, rendezvous=rendezvous
        )
        return report

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(train, hosts))
    assert sum(isinstance(report, NonZeroRankResult) for report in reports) == 1
    (written,) = (host / WEIGHTS for host in hosts if (host / WEIGHTS).is_file())
    expected_weights = load_file(paths / WEIGHTS)
    for name, weight in load_file(written).items():
        torch.testing.assert_close(weight, expected_weights[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow  # A restarted worker resumes a process group too, on one host.
def test_two_hosts_resume_from_the_checkpoint_of_one(
    prepare_run: PrepareRun, tmp_path: Path
) -> None:
    recipe, paths = prepare_run(epochs=30, checkpoint_epochs=1)
    run_step("train", recipe, paths)
    expected_weights = load_file(paths / WEIGHTS)
    with pytest.raises(TrainingError, match="was killed by SIGKILL"):
        run_step("train", recipe, paths, processes=2, on_progress=signal_worker(1, signal.SIGKILL))
    hosts = []
    for name in ("one", "two"):
        host = shutil.copytree(paths.root, tmp_path / name)
        shutil.copytree(paths.folder, host / "experiments" / recipe.name)
        hosts.append(host)
    shutil.rmtree(hosts[1] / "var" / CHECKPOINTS)

    command = [sys.executable, "-m", "creche.cli", "step", "train", recipe.name]
    command += ["--hosts", "2", "--rendezvous", f"127.0.0.1:{free_port()}"]
    processes = [
        subprocess.Popen(
            command, cwd=host, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for host in hosts
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    weights_files = [host / "experiments" / recipe.name / WEIGHTS for host in hosts]
    (written,) = (path for path in weights_files if path.is_file())
    assert sum("on the host of rank 0" in stdout for stdout, _ in outputs) == 1
    for name, weight in load_file(written).items():
        torch.testing.assert_close(weight, expected_weights[name], atol=1e-5, rtol=1e-4)
