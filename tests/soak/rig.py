"""A real house in a folder of its own, and the means to break it."""

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
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.processes import free_port  # noqa: E402
from support.projects import PENGUINS, new_project  # noqa: E402

Recipe = dict[str, Any]
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
UNSET = ("CRECHE_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "PYTHONWARNINGS")
STEPS = {  # a moment of a run → the file that is there already, the one that is not yet
    "validating": ("source.json", "validation.json"),
    "training": ("preprocessor.json", "weights.safetensors"),
    "promoting": ("evaluation.json", "promotion.json"),
}


def recipe(name: str, **changes: Recipe) -> Recipe:
    """A recipe of the repository, with sections changed."""
    found: Recipe = yaml.safe_load((ROOT / f"recipes/{name}.yaml").read_text())
    for section, told in changes.items():
        found[section] |= told
    return found


class Rig:
    """A project with recipes, deployed on pools of its own."""

    def __init__(
        self, root: Path, recipes: dict[str, Recipe], pools: dict[str, int], **env: str
    ) -> None:
        self.root, self.home = new_project(root), root / "var"
        self.env = {k: v for k, v in os.environ.items() if k not in UNSET}
        self.env |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "CUDA_VISIBLE_DEVICES": "", **env}
        for name in ("flows", "deploy"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (root / "recipes").iterdir():
            path.unlink()
        for name, told in recipes.items():
            (root / f"recipes/{name}.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
        self._deployments(list(recipes), pools)
        (self.home / "up").mkdir(
            parents=True
        )  # ports that other houses of this machine do not look for first
        ports = {"prefect_port": free_port(), "mlflow_port": free_port()}
        (self.home / "up/state.json").write_text(json.dumps(ports))

    def _deployments(self, recipes: list[str], pools: dict[str, int]) -> None:
        path = self.root / "deploy/prefect.yaml"
        told = yaml.safe_load(path.read_text())
        of = {d["entrypoint"].rpartition(":")[2]: d for d in reversed(told["deployments"])}
        told["deployments"] = [of["prune"] | {"schedules": []}]
        for name in recipes:
            for flow in ("retrain", "score"):
                told["deployments"].append(
                    of[flow]
                    | {"name": name, "parameters": {**of[flow]["parameters"], "recipe": name}}
                )
        told["deployments"] += [
            of["train"] | {"name": p, "parameters": {}, "work_pool": {"name": p}} for p in pools
        ]
        for deployment in told["deployments"]:
            deployment.pop(
                "schedules", None
            )  # the test asks for each run, so that it can count them
        told["creche"] |= {"pools": pools}
        path.write_text(yaml.safe_dump(told, sort_keys=False))

    # the house

    def creche(self, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "creche.cli", *words]
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=400,
        )

    def up(self) -> None:
        done = self.creche("up", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "up/state.json").read_text())
        return found

    def pid(self, who: str) -> int:
        """Of the keeper, or of one of its children; 0 while it has none."""
        record = self.record()
        return int(
            (record["pid"] if who == "keeper" else record["children"].get(who, {}).get("pid")) or 0
        )

    def kill(self, who: str, how: signal.Signals = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(who), how)

    def processes(self) -> list[psutil.Process]:
        """All that live and work in the project's folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(
                    self.root
                ):
                    found.append(process)
        return found

    def of_run(self, run: str) -> list[psutil.Process]:
        """The processes of a run, its flow's first."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    found.append(process)
        return sorted(found, key=lambda p: p.create_time())

    def of_runs(self) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID"):
                    found.append(process)
        return found

    # Prefect, asked as the UI asks it

    def api(self, path: str, body: Any = None, method: str = "", patience: float = 120) -> Any:
        deadline = time.monotonic() + patience
        data = None if body is None else json.dumps(body).encode()
        while True:
            request = urllib.request.Request(
                f"{self.record()['prefect']}/{path}",
                data,
                {"Content-Type": "application/json"},
                method=method or None,
            )
            try:
                with urllib.request.urlopen(request, timeout=15) as answer:
                    return json.loads(answer.read() or b"null")
            except (urllib.error.URLError, OSError) as error:
                lasting = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if lasting or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def start(
        self,
        deployment: str,
        key: str | None = None,
        env: dict[str, str] | None = None,
        **parameters: Any,
    ) -> str:
        """Ask for a run; its id."""
        found = self.api(f"deployments/name/{deployment}")["id"]
        asked = {"parameters": parameters, "idempotency_key": key, "state": {"type": "SCHEDULED"}}
        asked |= {"job_variables": {"env": env}} if env else {}
        return str(self.api(f"deployments/{found}/create_flow_run", asked)["id"])

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api(f"flow_runs/{run}")["state"]
        return found

    def set_state(self, run: str, **state: Any) -> None:
        self.api(f"flow_runs/{run}/set_state", {"state": state})

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """All flow runs, page by page."""
        found: list[dict[str, Any]] = []
        while page := self.api(
            "flow_runs/filter",
            {"limit": 200, "offset": len(found), "sort": "START_TIME_ASC", **filters},
        ):
            found += page
        return found

    def wait(self, run: str, seconds: float) -> dict[str, Any]:
        """The run's state when it is final, or after so long."""
        deadline = time.monotonic() + seconds
        while (state := self.state(run))["type"] not in FINAL and time.monotonic() < deadline:
            time.sleep(0.5)
        return state

    def slots(self) -> dict[str, int]:
        """Taken slots, by limit."""
        limits = self.api("v2/concurrency_limits/filter", {"limit": 200})
        return {
            limit["name"]: round(limit["active_slots"]) for limit in limits if limit["active_slots"]
        }

    def when(self, run: str, folder: str, moment: str, patience: float = 180) -> bool:
        """Wait until a run is at a moment; False where it was over before it could be seen
        there.
        """
        deadline, asked = time.monotonic() + patience, 0.0
        while time.monotonic() < deadline:
            if moment == "pending":
                if self.state(run)["type"] == "PENDING":
                    return True
            else:
                there, not_yet = ((self.home / "runs" / folder / name) for name in STEPS[moment])
                if not_yet.exists():
                    return False
                if there.exists():
                    time.sleep(3 if moment == "training" else 0)  # torch is imported then
                    return True
            if (
                time.monotonic() - asked > 5
                and (asked := time.monotonic())
                and self.state(run)["type"] in FINAL
            ):
                return False
            time.sleep(0.02)
        return False

    # data

    def put_data(self, content: bytes, remote: bool = True) -> str:
        """A new data version, as `dvc add` and `dvc push` make one; its MD5."""
        digest = md5(content).hexdigest()
        listing = json.dumps([{"md5": digest, "relpath": "penguins.csv"}]).encode()
        for name, data in (
            ((digest, content), (f"{md5(listing).hexdigest()}.dir", listing)) if remote else ()
        ):
            path = self.root / "dvc-remote/files/md5" / name[:2] / name[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        out = {
            "md5": f"{md5(listing).hexdigest()}.dir",
            "size": len(content),
            "nfiles": 1,
            "hash": "md5",
            "path": "data",
        }
        part = self.root / "data.dvc.part"
        part.write_text(yaml.safe_dump({"outs": [out]}))
        part.replace(self.root / "data.dvc")
        return digest


def penguins(chance: random.Random, share: float = 0.9, broken: float = 0.0) -> bytes:
    """A share of the penguins' rows, of which a share is broken."""
    header, *rows = PENGUINS.read_text().splitlines()
    kept = [r for r in rows if chance.random() < share]
    spoilt = [
        ",".join([*r.split(",")[:6], "-1", *r.split(",")[7:]]) if chance.random() < broken else r
        for r in kept
    ]
    return ("\n".join([header, *spoilt]) + "\n").encode()


def show(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A table, as the documentation has it."""
    print(f"\n{title}\n")
    cells = [list(columns), *[[str(c) for c in row] for row in rows]]
    wide = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for number, row in enumerate(cells):
        print("| " + " | ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) for w in wide) + "|", flush=True)


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
