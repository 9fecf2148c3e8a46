"""Training in a process group, with workers that are killed, hang or do not meet."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from support.processes import free_port
from support.training import PrepareRun

from creche.errors import TrainingError
from creche.pipeline import run_step
from creche.project import CHECKPOINTS, HISTORY, WEIGHTS, read_json
from creche.training.distributed import Rendezvous


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


def test_two_processes_train_the_network_of_one(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=20)
    run_step("train", recipe, paths)
    expected_weights = load_file(paths / WEIGHTS)
    expected_history = read_json(paths / HISTORY)
    run_step("train", recipe, paths, workers=2)
    weights = load_file(paths / WEIGHTS)
    for name, weight in expected_weights.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=1e-4)
    expected_losses = [e["loss"] for e in expected_history]
    losses = [e["loss"] for e in read_json(paths / HISTORY)]
    assert losses == pytest.approx(expected_losses, abs=1e-5)


def test_killed_worker_ends_the_training_with_a_message(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=100_000)
    with pytest.raises(
        TrainingError,
        match=r"worker 1 was killed by SIGKILL; run the step again to resume from the last "
        "checkpoint",
    ):
        run_step("train", recipe, paths, workers=2, on_progress=signal_worker(1, signal.SIGKILL))
    assert not (paths / WEIGHTS).exists()


def test_killed_worker_is_restarted_where_the_recipe_has_restarts(
    prepare_run: PrepareRun,
) -> None:
    recipe, paths = prepare_run(epochs=40, checkpoint_epochs=1)
    run_step("train", recipe, paths, workers=2)
    undisturbed = (paths / WEIGHTS).read_bytes()
    recipe, paths = prepare_run(epochs=40, checkpoint_epochs=1, restarts=1)
    run_step("train", recipe, paths, workers=2, on_progress=signal_worker(0, signal.SIGKILL))
    assert (paths / WEIGHTS).read_bytes() == undisturbed


def test_hanging_worker_ends_the_training_after_the_timeout(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=100_000, timeout_seconds=5)
    # Other tests may have left a helper process of Python's.
    children_before = {*psutil.Process().children(recursive=True)}
    with pytest.raises(
        TrainingError,
        match=r"worker 0 lost the connection to another worker, or waited 5 s for it "
        r"\(training.timeout_seconds\)",
    ):
        run_step("train", recipe, paths, workers=2, on_progress=signal_worker(1, signal.SIGSTOP))
    assert not {*psutil.Process().children(recursive=True)} - children_before


def test_hosts_that_do_not_meet_end_with_endpoint_and_timeout(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(timeout_seconds=5)
    rendezvous = Rendezvous(2, f"127.0.0.1:{free_port()}")
    with pytest.raises(TrainingError, match=r"2 hosts did not meet at 127.0.0.1:\d+ within 5 s"):
        run_step("train", recipe, paths, rendezvous=rendezvous)


def test_two_hosts_resume_from_the_checkpoint_of_one(
    prepare_run: PrepareRun, tmp_path: Path
) -> None:
    recipe, paths = prepare_run(epochs=30, checkpoint_epochs=1)
    run_step("train", recipe, paths)
    expected_weights = load_file(paths / WEIGHTS)
    with pytest.raises(TrainingError, match="was killed by SIGKILL"):
        run_step("train", recipe, paths, workers=2, on_progress=signal_worker(1, signal.SIGKILL))
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
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    weights_files = [host / "experiments" / recipe.name / WEIGHTS for host in hosts]
    (written,) = (path for path in weights_files if path.is_file())
    assert sum("on the host of rank 0" in stdout for stdout, _ in outputs) == 1
    for name, weight in load_file(written).items():
        torch.testing.assert_close(weight, expected_weights[name], atol=1e-5, rtol=1e-4)
