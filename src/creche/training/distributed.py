"""Launch a process group with torchrun, on one host or several, and relay its progress and errors.

`python -m creche.training.distributed PARENT …` is torchrun itself, which ends with its parent.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from creche.errors import TrainingError
from creche.project import RunPaths
from creche.recipe import Recipe
from creche.records import EpochMetrics

if TYPE_CHECKING:
    from creche.training.metrics import OnProgress

SHUTDOWN_SECONDS = 35  # torchrun gives its workers 30
PR_SET_PDEATHSIG = 1  # Linux' prctl: the signal that a process gets when its parent dies
# A worker's reports begin with it: libraries may print to the standard output too.
PROGRESS_PREFIX = "creche progress: "

LOST_CONNECTION = re.compile(r"[Tt]imed? ?out|Connection (reset|closed)")
ERROR_LINE = re.compile(r"\w*(Error|Exception)\b.*:")


@dataclass(frozen=True)
class Rendezvous:
    """The hosts of one process group, and HOST:PORT on one of them where all of them meet."""

    hosts: int
    endpoint: str


class WorkerRequest(BaseModel):
    """What a worker is to train, and where; written as JSON for torchrun's processes."""

    recipe: Recipe
    device: str  # type of the device: cpu, cuda or mps
    root: Path
    home: Path
    folder: Path

    @property
    def paths(self) -> RunPaths:
        """The files of the run."""
        return RunPaths(self.root, self.home, self.folder)


def error_path(request_path: Path) -> Path:
    """Return the file in which a worker leaves the message of its error."""
    return request_path.with_name("error.txt")


def launch(
    recipe: Recipe,
    paths: RunPaths,
    device: str,
    processes: int,
    rendezvous: Rendezvous | None,
    on_progress: "OnProgress | None",
) -> None:
    """Train in a process group and wait for it.

    Args:
        recipe: what to train.
        paths: the files of the run.
        device: type of the device: cpu, cuda or mps.
        processes: on this host.
        rendezvous: the hosts of the group, and where they meet; None: this host alone.
        on_progress: called with what rank 0 reports, if that is on this host.

    Raises:
        TrainingError: a worker failed, was killed, or hung for longer than
            `training.timeout_seconds`, or the hosts did not meet within that time; 30 s more may
            pass until the last process has ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        request_path = Path(folder) / "request.json"
        request = WorkerRequest(
            recipe=recipe, device=device, root=paths.root, home=paths.home, folder=paths.folder
        )
        request_path.write_text(request.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "creche.training.distributed", str(os.getpid())]
        command += _torchrun_options(recipe, processes, rendezvous)
        command += ["-m", "creche.training.worker", str(request_path)]
        stderr_path = Path(folder) / "stderr"
        exit_code = _run(command, processes, stderr_path, on_progress)
        if exit_code:
            stderr = stderr_path.read_text()
            raise TrainingError(_failure_message(request_path, stderr, recipe, rendezvous))


def set_parent_death_signal(death_signal: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies; Linux only.

    Nothing else notices a parent that was killed with SIGKILL.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))


def exit_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """Have this process end with its parent; exit at once where that is dead already."""
    set_parent_death_signal(death_signal)
    # The parent may have died before the call.
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def _torchrun_options(recipe: Recipe, processes: int, rendezvous: Rendezvous | None) -> list[str]:
    restarts = recipe.training.restarts
    options = ["--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    if rendezvous is None:
        return [*options, "--standalone"]
    timeout = recipe.training.timeout_seconds
    return [
        *options,
        *("--nnodes", str(rendezvous.hosts)),
        *("--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", rendezvous.endpoint),
        # Only hosts with the same recipe meet.
        *("--rdzv-id", recipe.digest),
        *("--rdzv-conf", f"join_timeout={timeout},timeout={timeout}"),
    ]


def _run(
    command: list[str], processes: int, stderr_path: Path, on_progress: "OnProgress | None"
) -> int:
    """Run torchrun to its end and return its exit code."""
    # Without this torchrun gives each worker one thread. A value that the user has set stays.
    environment = {"OMP_NUM_THREADS": str(_threads_per_process(processes)), **os.environ}
    with (
        stderr_path.open("w") as stderr,
        subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        ) as process,
    ):
        try:
            _relay_progress(process.stdout or (), on_progress)
            process.wait()
        finally:
            # torchrun then ends its workers, unless it waits for another host.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SHUTDOWN_SECONDS)
            process.kill()
    return process.returncode


def _threads_per_process(processes: int) -> int:
    if not hasattr(os, "sched_getaffinity"):
        return 1
    return max(1, len(os.sched_getaffinity(0)) // processes)


def _relay_progress(lines: Iterable[str], on_progress: "OnProgress | None") -> None:
    for line in lines:
        if line.startswith(PROGRESS_PREFIX) and on_progress:
            rows, metrics, epoch_values = json.loads(line.removeprefix(PROGRESS_PREFIX))
            epoch = EpochMetrics.model_validate(epoch_values) if epoch_values else None
            on_progress(rows, metrics, epoch)


def _failure_message(
    request_path: Path, stderr: str, recipe: Recipe, rendezvous: Rendezvous | None
) -> str:
    """Return what ended the process group, from what its first failing worker left."""
    # An error of ours has its message already.
    worker_error = error_path(request_path)
    if worker_error.is_file():
        return worker_error.read_text()
    timeout = recipe.training.timeout_seconds
    # The last part of torchrun's own summary names the worker that failed first.
    root_cause = stderr.rpartition("Root Cause")[2]
    rank = re.search(r"rank\s*:\s*(-?\d+)", root_cause)
    exit_code = re.search(r"exitcode\s*:\s*(-?\d+)", root_cause)
    if rank and exit_code:
        cause = _worker_failure(int(exit_code[1]), stderr, timeout)
        return (
            f"worker {rank[1]} {cause}; run the step again to resume from the last checkpoint, "
            "or set training.restarts"
        )
    # No worker has failed: torchrun itself has.
    if rendezvous:
        return (
            f"{rendezvous.hosts} hosts did not meet at {rendezvous.endpoint} within {timeout} s "
            "(training.timeout_seconds): start the same step with the same recipe on each, and "
            f"check that the port is open; {_last_error(stderr)}"
        )
    return f"the workers did not start: {_last_error(stderr)}"


def _worker_failure(exit_code: int, stderr: str, timeout: int) -> str:
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    if LOST_CONNECTION.search(stderr):
        return (
            "lost the connection to another worker, or waited "
            f"{timeout} s for it (training.timeout_seconds)"
        )
    traceback = stderr.partition("Traceback")[2]
    return f"failed: {_last_error(traceback or stderr)}"


def _last_error(stderr: str) -> str:
    """Return the last line that names an exception, or else the last line."""
    lines = stderr.strip().splitlines()
    error_lines = [line for line in lines if ERROR_LINE.search(line)]
    candidates = error_lines or lines or ["no output"]
    return candidates[-1].strip()


if __name__ == "__main__":
    exit_with_parent(int(sys.argv[1]), signal.SIGKILL)
    from torch.distributed.run import main

    main(sys.argv[2:])
