"""A real project with services of its own, and the means to break them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.processes import free_port  # noqa: E402
from support.projects import PENGUINS, new_project  # noqa: E402

from creche.operations import service_state  # noqa: E402
from creche.operations.run_processes import FLOW_RUN_VARIABLE  # noqa: E402
from creche.project import ProjectPaths  # noqa: E402
from creche.records import ServiceAddresses, ServicesState  # noqa: E402

Recipe = dict[str, Any]
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# What a developer has set must not reach the services.
UNSET = ("CRECHE_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "PYTHONWARNINGS")
SUPERVISOR = "supervisor"
COMMAND_SECONDS = 400
PAGE_SIZE = 200  # flow runs in one response
IMPORT_SECONDS = 3  # after which a training has imported torch


@dataclass(frozen=True)
class Moment:
    """A moment of a run: one of its files exists, the next does not yet."""

    existing: str
    missing: str


MOMENTS = {
    "validating": Moment("source.json", "validation.json"),
    "training": Moment("preprocessor.json", "weights.safetensors"),
    "promoting": Moment("evaluation.json", "promotion.json"),
}


def recipe(name: str, **changes: Recipe) -> Recipe:
    """Return a recipe of the repository, with keys of some sections changed."""
    content: Recipe = yaml.safe_load((ROOT / f"recipes/{name}.yaml").read_text())
    for section, keys in changes.items():
        content[section] |= keys
    return content


class Rig:
    """A project with some recipes, deployed on pools of its own.

    Args:
        root: the folder to create it in.
        recipes: name → content.
        pools: name → number of concurrent runs.
        env: for its commands and services.
    """

    def __init__(
        self, root: Path, recipes: dict[str, Recipe], pools: dict[str, int], **env: str
    ) -> None:
        self.root = new_project(root)
        self.home = root / "var"
        self.paths = ProjectPaths(self.root, self.home)
        self.env = {key: value for key, value in os.environ.items() if key not in UNSET}
        self.env |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "CUDA_VISIBLE_DEVICES": "", **env}
        for name in ("deploy",):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (root / "recipes").iterdir():
            path.unlink()
        for name, content in recipes.items():
            path = root / f"recipes/{name}.yaml"
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        self._write_deployments(list(recipes), pools)
        self._choose_ports()

    def _write_deployments(self, recipes: list[str], pools: dict[str, int]) -> None:
        path = self.root / "deploy/prefect.yaml"
        content = yaml.safe_load(path.read_text())
        by_flow: dict[str, dict[str, Any]] = {}
        for deployment in content["deployments"]:
            flow = deployment["entrypoint"].rpartition(".")[2]
            by_flow.setdefault(flow, deployment)
        deployments = [by_flow["prune"]]
        for name in recipes:
            for flow in ("retrain", "score"):
                parameters = {**by_flow[flow]["parameters"], "recipe": name}
                deployments.append({**by_flow[flow], "name": name, "parameters": parameters})
        for pool in pools:
            train = {"name": pool, "parameters": {}, "work_pool": {"name": pool}}
            deployments.append({**by_flow["train"], **train})
        # The test starts each run, so that it can count them.
        for deployment in deployments:
            deployment.pop("schedules", None)
        content["deployments"] = deployments
        content["creche"] |= {"pools": pools}
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def _choose_ports(self) -> None:
        """Leave the state of earlier services, whose ports the next ones prefer: they are none that
        the services of another test would try first.
        """
        addresses = ServiceAddresses(
            prefect_port=free_port(),
            mlflow_port=free_port(),
            prefect_url="",
            ui_url="",
            mlflow_url="",
        )
        service_state.services_folder(self.paths).mkdir(parents=True)
        service_state.write_state(self.paths, ServicesState(addresses=addresses))

    # services

    def creche(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `creche …` in the project."""
        return subprocess.run(
            [sys.executable, "-m", "creche.cli", *arguments],
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def up(self) -> None:
        """Start the services, as systemd would."""
        result = self.creche("up", "--detach")
        assert result.returncode == 0, result.stdout + result.stderr

    def state(self) -> ServicesState:
        """Return what the services wrote last, whether or not they run."""
        state = service_state.last_state(self.paths)
        assert state is not None
        return state

    def addresses(self) -> ServiceAddresses:
        addresses = self.state().addresses
        assert addresses is not None
        return addresses

    def pid(self, name: str) -> int:
        """Return the process of the supervisor, or of one that it manages; 0 where there is none."""
        state = self.state()
        if name == SUPERVISOR:
            return state.pid or 0
        process = state.processes.get(name)
        return (process.pid or 0) if process else 0

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), how)

    def processes(self) -> list[psutil.Process]:
        """Return all processes that work in the project's folder."""
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_here = Path(process.cwd()).is_relative_to(self.root)
                if is_here and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return processes

    def processes_of_runs(self, run_id: str | None = None) -> list[psutil.Process]:
        """Return the processes of one flow run, or of all; the flow's own first."""
        processes = []
        for process in self.processes():
            with suppress(psutil.Error):
                owner = process.environ().get(FLOW_RUN_VARIABLE)
                if owner and run_id in (None, owner):
                    processes.append((process.create_time(), process.pid, process))
        return [process for _, _, process in sorted(processes)]

    # Prefect's API, as its UI calls it

    def api(self, path: str, body: Any = None, method: str = "", timeout: float = 120) -> Any:
        """Call Prefect's API; a server that does not respond is tried for `timeout` (s)."""
        deadline = time.monotonic() + timeout
        data = None if body is None else json.dumps(body).encode()
        while True:
            request = urllib.request.Request(
                f"{self.addresses().prefect_url}/{path}",
                data,
                {"Content-Type": "application/json"},
                method=method or None,
            )
            try:
                with urllib.request.urlopen(request, timeout=15) as response:
                    return json.loads(response.read() or b"null")
            except (urllib.error.URLError, OSError) as error:
                is_refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if is_refused or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def start(
        self,
        deployment: str,
        idempotency_key: str | None = None,
        env: dict[str, str] | None = None,
        **parameters: Any,
    ) -> str:
        """Create a flow run, and return its id."""
        deployment_id = self.api(f"deployments/name/{deployment}")["id"]
        body: dict[str, Any] = {
            "parameters": parameters,
            "idempotency_key": idempotency_key,
            "state": {"type": "SCHEDULED"},
        }
        if env:
            body["job_variables"] = {"env": env}
        return str(self.api(f"deployments/{deployment_id}/create_flow_run", body)["id"])

    def run_state(self, run_id: str) -> dict[str, Any]:
        state: dict[str, Any] = self.api(f"flow_runs/{run_id}")["state"]
        return state

    def set_run_state(self, run_id: str, **state: Any) -> None:
        self.api(f"flow_runs/{run_id}/set_state", {"state": state})

    def runs(self) -> list[dict[str, Any]]:
        """Return all flow runs, by the time of their start."""
        runs: list[dict[str, Any]] = []
        while True:
            body = {"limit": PAGE_SIZE, "offset": len(runs), "sort": "START_TIME_ASC"}
            page = self.api("flow_runs/filter", body)
            if not page:
                return runs
            runs += page

    def wait_for_end(self, run_id: str, seconds: float) -> dict[str, Any]:
        """Return the state of a run when it is final, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.run_state(run_id)
            if state["type"] in FINAL or time.monotonic() > deadline:
                return state
            time.sleep(0.5)

    def slots(self) -> dict[str, int]:
        """Return the number of taken slots of each concurrency limit that has some."""
        taken = {}
        for limit in self.api("v2/concurrency_limits/filter", {"limit": PAGE_SIZE}):
            if limit["active_slots"]:
                taken[limit["name"]] = round(limit["active_slots"])
        return taken

    def wait_for_moment(self, run_id: str, folder: str, moment: str, seconds: float = 180) -> bool:
        """Wait until a run is at a moment.

        Args:
            run_id: of the flow run.
            folder: with its files, in the home's `runs/`.
            moment: `pending`, or one of MOMENTS.
            seconds: to wait at most.

        Returns:
            False where it had passed before it could be seen.
        """
        deadline = time.monotonic() + seconds
        next_request = 0.0
        while time.monotonic() < deadline:
            if moment == "pending":
                if self.run_state(run_id)["type"] == "PENDING":
                    return True
            else:
                files = MOMENTS[moment]
                if (self.home / "runs" / folder / files.missing).exists():
                    return False
                if (self.home / "runs" / folder / files.existing).exists():
                    if moment == "training":
                        time.sleep(IMPORT_SECONDS)
                    return True
            if time.monotonic() > next_request:
                next_request = time.monotonic() + 5
                if self.run_state(run_id)["type"] in FINAL:
                    return False
            time.sleep(0.02)
        return False

    # data

    def put_data(self, content: bytes, in_remote: bool = True) -> str:
        """Create a data version as `dvc add` and `dvc push` do, and return its MD5."""
        digest = md5(content).hexdigest()
        listing = json.dumps([{"md5": digest, "relpath": "penguins.csv"}]).encode()
        listing_digest = f"{md5(listing).hexdigest()}.dir"
        if in_remote:
            self._write_object(digest, content)
            self._write_object(listing_digest, listing)
        output = {
            "md5": listing_digest,
            "size": len(content),
            "nfiles": 1,
            "hash": "md5",
            "path": "data",
        }
        part = self.root / "data.dvc.part"
        part.write_text(yaml.safe_dump({"outs": [output]}))
        part.replace(self.root / "data.dvc")
        return digest

    def _write_object(self, name: str, content: bytes) -> None:
        path = self.root / "dvc-remote/files/md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def penguins(generator: random.Random, share: float = 0.9, broken_share: float = 0.0) -> bytes:
    """Return a random share of the penguins' rows, of which a share breaks the contract."""
    header, *rows = PENGUINS.read_text().splitlines()
    sample = [row for row in rows if generator.random() < share]
    lines = [header]
    for row in sample:
        if generator.random() < broken_share:
            cells = row.split(",")
            cells[6] = "-1"
            lines.append(",".join(cells))
        else:
            lines.append(row)
    return ("\n".join(lines) + "\n").encode()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table in Markdown, as the documentation has it."""
    table: list[Sequence[str]] = [list(columns)]
    for row in rows:
        table.append([str(cell) for cell in row])
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    print(f"\n{title}\n")
    for number, row in enumerate(table):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            lines = ["-" * (width + 2) for width in widths]
            print(f"|{'|'.join(lines)}|", flush=True)


def holds_within(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
