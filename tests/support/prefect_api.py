"""Runs and artifacts, as the API of a Prefect server gives them."""

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Server = dict[str, str]  # the environment that points at the server
MLFLOW_URL = "http://127.0.0.1:5000"  # linked to, never opened


@dataclass(frozen=True)
class PromotedRun:
    """A project, and the flow run that promoted its champion."""

    project: Path
    flow_run: str  # id


def query(server: Server, collection: str, **filters: Any) -> list[dict[str, Any]]:
    """Return what the server has in `flow_runs` or `artifacts`, filtered as its API has it."""
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{collection}/filter",
        json.dumps(filters).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        rows: list[dict[str, Any]] = json.load(response)
    return rows


def started_flow_runs(server: Server) -> list[dict[str, Any]]:
    """Return the flow runs that have started, the latest first."""
    # A run that is scheduled for later has no start time, and would come first.
    is_started = {"start_time": {"is_null_": False}}
    return query(server, "flow_runs", sort="START_TIME_DESC", flow_runs=is_started)


def artifacts_of_run(server: Server, flow_run: str) -> list[dict[str, Any]]:
    """Return the artifacts of a flow run."""
    return query(server, "artifacts", artifacts={"flow_run_id": {"any_": [flow_run]}})


def latest_artifact(server: Server, key: str) -> dict[str, Any]:
    """Return the latest artifact under a key."""
    url = f"{server['PREFECT_API_URL']}/artifacts/{key}/latest"
    with urllib.request.urlopen(url) as response:
        artifact: dict[str, Any] = json.load(response)
    return artifact
