"""Which MLflow runs the services mark as killed; test_services.py has the services do it."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from creche import registry
from creche.project import ProjectPaths

Server = dict[str, str]
# argv: JSON of the runs' names and of their flow runs, which may be null.
START_AND_DIE = """
import json, os, sys
from creche import registry
from creche.project import ProjectPaths
for name, flow_run in json.loads(sys.argv[1]).items():
    tags = {"flow_run": flow_run} if flow_run else {}
    registry.TrackedRun.start("penguins", name, {}, tags, ProjectPaths.find())
os.kill(os.getpid(), 9)
"""


def create(server: Server, path: str, **body: Any) -> str:
    """Create something on the Prefect server, and return its id."""
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{path}/",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return str(json.loads(response.read())["id"])


def leave_runs(paths: ProjectPaths, flow_runs: dict[str, str | None]) -> None:
    """Start MLflow runs in a process that is killed.

    Args:
        paths: of the project.
        flow_runs: name → flow run.
    """
    subprocess.run(
        [sys.executable, "-c", START_AND_DIE, json.dumps(flow_runs)],
        cwd=paths.root,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
    )


def test_runs_that_may_be_alive_are_not_marked(project: Path, prefect_server: Server) -> None:
    paths = ProjectPaths.find()
    flow = create(prefect_server, "flows", name="for-mlflow")
    crashed = create(prefect_server, "flow_runs", flow_id=flow, state={"type": "CRASHED"})
    running = create(prefect_server, "flow_runs", flow_id=flow, state={"type": "RUNNING"})
    flow_runs = {
        "killed": None,
        "killed and crashed": crashed,
        "killed on another server": "00000000-0000-4000-8000-000000000000",
        # Another machine of the same name may have it.
        "in progress": running,
    }
    leave_runs(paths, flow_runs)
    # A server that did not receive the heartbeats calls a living run crashed.
    registry.TrackedRun.start("penguins", "alive", {}, {"flow_run": crashed}, paths)

    result = subprocess.run(
        [sys.executable, "-m", "creche.operations.mlflow_reconciler"],
        cwd=project,
        env={**os.environ, **prefect_server, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    expected = [
        f"{name} of penguins was RUNNING in MLflow, and its process is gone"
        for name in ("killed", "killed and crashed", "killed on another server")
    ]
    assert sorted(result.stdout.splitlines()) == sorted(expected)
    assert {run.name for run in registry.unfinished_runs(paths)} == {"in progress", "alive"}
