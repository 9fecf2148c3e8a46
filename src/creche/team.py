"""A team of training processes, on one host or several: torchrun, started so that it ends when its starter does."""

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
from creche.places import Places, write_json
from creche.recipe import Recipe

if TYPE_CHECKING:
    from creche.training import Follow

PATIENCE_SECONDS = 35  # torchrun gives its workers 30
SET_PARENT_DEATH_SIGNAL = 1  # of Linux' prctl


@dataclass(frozen=True)
class Joining:
    """The hosts that are one team, and HOST:PORT on one of them where all meet."""

    hosts: int
    endpoint: str


def launch(recipe: Recipe, places: Places, device: str, workers: int, joining: Joining | None, follow: "Follow | None") -> None:
    """Run the train step as a team and wait for it.

    Raises:
        TrainingError: a worker failed, was killed, or hung for longer than `training.stall_seconds`, or the hosts did not
            meet within that time; 30 s more may pass until the last process is gone.
    """
    with tempfile.TemporaryDirectory() as name, (Path(name) / "stderr").open("w+") as said:
        request = Path(name) / "request.json"
        asked = {"recipe": recipe.model_dump(mode="json"), "device": device}
        write_json(request, {**asked, "places": [str(p) for p in (places.root, places.home, places.folder)]})
        torchrun = ["--nproc-per-node", str(workers), "--max-restarts", str(recipe.training.restarts)]
        torchrun += _meeting(recipe, joining)
        command = [sys.executable, "-m", "creche.team", str(os.getpid()), *torchrun, "-m", "creche.steps.train", str(request)]
        threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:  # noqa: S603
            try:
                _relay(process.stdout, follow)
                process.wait()
            finally:
                process.terminate()  # torchrun then ends its workers, unless it waits for another host
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_SECONDS)
                process.kill()
        if process.returncode:
            said.seek(0)
            raise TrainingError(_why(request, said.read(), recipe, joining))


def _meeting(recipe: Recipe, joining: Joining | None) -> list[str]:
    if joining is None:
        return ["--standalone"]
    patience = recipe.training.stall_seconds
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", joining.endpoint, "--rdzv-id", recipe.digest]  # of one recipe
    return ["--nnodes", str(joining.hosts), *meet, "--rdzv-conf", f"join_timeout={patience},timeout={patience}"]


def _relay(lines: IO[str] | None, follow: "Follow | None") -> None:
    for line in lines or ():
        if line.startswith("[") and follow:
            follow(*json.loads(line))


def _why(request: Path, said: str, recipe: Recipe, joining: Joining | None) -> str:
    """What ended the team, from what its first failing member left."""
    told, patience = request.with_name("why"), recipe.training.stall_seconds
    if told.is_file():
        return told.read_text()
    root = said.rpartition("Root Cause")[2]
    rank, code = (re.search(rf"{key}\s*:\s*(-?\d+)", root) for key in ("rank", "exitcode"))
    if joining and not (rank and code):
        return (
            f"{joining.hosts} hosts did not meet at {joining.endpoint} within {patience} s (training.stall_seconds): start the "
            f"same step with the same recipe on each, and see that the port is open; {_last(said)}"
        )
    if not (rank and code):
        return f"the team of workers did not start: {_last(said)}"
    if int(code[1]) < 0:
        ended = f"was killed by {signal.Signals(-int(code[1])).name}"
    elif re.search(r"[Tt]imed? ?out|Connection (reset|closed)", said):
        ended = f"lost another one, or waited {patience} s for it (training.stall_seconds)"
    else:
        ended = f"failed: {_last(said.partition('Traceback')[2] or said)}"
    return f"worker {rank[1]} {ended}; start again to go on from the last checkpoint, or set training.restarts"


def _last(said: str) -> str:
    errors = [line for line in said.splitlines() if re.search(r"\w*(Error|Exception)\b.*:", line)]
    return (errors or said.strip().splitlines() or ["nothing was said"])[-1].strip()


def end_with_parent(parent: int, how: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, which nothing else notices after a `kill -9`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(how))
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]), signal.SIGKILL)
    from torch.distributed.run import main

    main(sys.argv[2:])
