"""A team of training processes, on one host or several: torchrun, started so that it ends when its
starter does.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from creche.errors import TrainingError
from creche.project import RunPaths, write_json
from creche.recipe import Recipe

if TYPE_CHECKING:
    from creche.training.loop import OnProgress

SHUTDOWN_SECONDS = 35  # torchrun gives its workers 30
SET_PARENT_DEATH_SIGNAL = 1  # of Linux' prctl


@dataclass(frozen=True)
class Rendezvous:
    """The hosts that are one team, and HOST:PORT on one of them where all meet."""

    hosts: int
    endpoint: str


def launch(
    recipe: Recipe,
    paths: RunPaths,
    device: str,
    workers: int,
    rendezvous: Rendezvous | None,
    follow: "OnProgress | None",
) -> None:
    """Run the train step as a team and wait for it.

    Raises:
        TrainingError: a worker failed, was killed, or hung for longer than
        `training.timeout_seconds`, or the hosts did not
            meet within that time; 30 s more may pass until the last process is gone.
    """
    with tempfile.TemporaryDirectory() as name, (Path(name) / "stderr").open("w+") as said:
        request = Path(name) / "request.json"
        asked = {"recipe": recipe.model_dump(mode="json"), "device": device}
        write_json(
            request, {**asked, "paths": [str(p) for p in (paths.root, paths.home, paths.folder)]}
        )
        torchrun = [
            "--nproc-per-node",
            str(workers),
            "--max-restarts",
            str(recipe.training.restarts),
        ]
        torchrun += _meeting(recipe, rendezvous)
        command = [
            sys.executable,
            "-m",
            "creche.training.distributed",
            str(os.getpid()),
            *torchrun,
            "-m",
            "creche.pipeline.train",
            str(request),
        ]
        threads = (
            max(1, len(os.sched_getaffinity(0)) // workers)
            if hasattr(os, "sched_getaffinity")
            else 1
        )
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        ) as process:
            try:
                _relay(process.stdout, follow)
                process.wait()
            finally:
                process.terminate()  # torchrun then ends its workers, unless it waits for another host
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SHUTDOWN_SECONDS)
                process.kill()
        if process.returncode:
            said.seek(0)
            raise TrainingError(_why(request, said.read(), recipe, rendezvous))


def _meeting(recipe: Recipe, rendezvous: Rendezvous | None) -> list[str]:
    if rendezvous is None:
        return ["--standalone"]
    patience = recipe.training.timeout_seconds
    meet = [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        rendezvous.endpoint,
        "--rdzv-id",
        recipe.digest,
    ]  # of one recipe
    return [
        "--nnodes",
        str(rendezvous.hosts),
        *meet,
        "--rdzv-conf",
        f"join_timeout={patience},timeout={patience}",
    ]


def _relay(lines: IO[str] | None, follow: "OnProgress | None") -> None:
    for line in lines or ():
        if line.startswith("[") and follow:
            follow(*json.loads(line))


def _why(request: Path, said: str, recipe: Recipe, rendezvous: Rendezvous | None) -> str:
    """What ended the team, from what its first failing member left."""
    told, patience = request.with_name("why"), recipe.training.timeout_seconds
    if told.is_file():
        return told.read_text()
    root = said.rpartition("Root Cause")[2]
    rank, code = (re.search(rf"{key}\s*:\s*(-?\d+)", root) for key in ("rank", "exitcode"))
    if rendezvous and not (rank and code):
        return (
            f"{rendezvous.hosts} hosts did not meet at {rendezvous.endpoint} within {patience} s "
            "(training.timeout_seconds): start the "
            f"same step with the same recipe on each, and see that the port is open; {_last(said)}"
        )
    if not (rank and code):
        return f"the team of workers did not start: {_last(said)}"
    if int(code[1]) < 0:
        ended = f"was killed by {signal.Signals(-int(code[1])).name}"
    elif re.search(r"[Tt]imed? ?out|Connection (reset|closed)", said):
        ended = f"lost another one, or waited {patience} s for it (training.timeout_seconds)"
    else:
        ended = f"failed: {_last(said.partition('Traceback')[2] or said)}"
    return f"worker {rank[1]} {ended}; start again to go on from the last checkpoint, or set training.restarts"


def _last(said: str) -> str:
    errors = [line for line in said.splitlines() if re.search(r"\w*(Error|Exception)\b.*:", line)]
    return (errors or said.strip().splitlines() or ["nothing was said"])[-1].strip()


def exit_with_parent(parent: int, how: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, which nothing else notices
    after a `kill -9`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(how))
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


if __name__ == "__main__":
    exit_with_parent(int(sys.argv[1]), signal.SIGKILL)
    from torch.distributed.run import main

    main(sys.argv[2:])
