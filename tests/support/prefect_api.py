"""Runs and artifacts, as the API of a Prefect server gives them."""

import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

Server = dict[str, str]  # the environment that points at the server
MLFLOW_URL = "http://127.0.0.1:5000"  # linked to, never opened
UNAVAILABLE = 503  # of a server whose SQLite database another writer holds
ATTEMPTS = 6
RETRY_SECONDS = 2.0  # between two attempts


@dataclass(frozen=True)
class PromotedRun:
    """A project, and the flow run that promoted its champion."""

    project: Path
    flow_run: str  # id


def send(request: urllib.request.Request) -> bytes:
    """Return what a server answers; where it is busy, ask again, as Prefect's own client does."""
    for _ in range(ATTEMPTS - 1):
        try:
            with urllib.request.urlopen(request) as response:
                return bytes(response.read())
        except HTTPError as error:
            if error.code != UNAVAILABLE:
                raise
        time.sleep(RETRY_SECONDS)
    with urllib.request.urlopen(request) as response:
        return bytes(response.read())


def query(server: Server, collection: str, **filters: Any) -> list[dict[str, Any]]:
    """Return what the server has in `flow_runs` or `artifacts`, filtered as its API has it."""
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{collection}/filter",
        json.dumps(filters).encode(),
        {"Content-Type": "application/json"},
    )
    rows: list[dict[str, Any]] = json.loads(send(request))
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
    artifact: dict[str, Any] = json.loads(send(urllib.request.Request(url)))
    return artifact
