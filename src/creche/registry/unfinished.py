"""The runs without an end in MLflow, and those of them whose process is gone."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from creche.project import ProjectPaths
from creche.registry.client import mlflow_client
from creche.registry.reader import FLOW_RUN_ID_TAG, StoredRun, store_reader
from creche.registry.store import store_exists


def unfinished_runs(paths: ProjectPaths) -> list[StoredRun]:
    """Return the runs of every recipe that have no end on record."""
    return store_reader(paths).running_runs() if store_exists(paths) else []


@dataclass(frozen=True)
class DeadRun:
    """A run that MLflow shows as running, and that is not."""

    run: StoredRun
    reason: str  # as in `… is RUNNING in MLflow, and REASON`


def dead_runs(
    paths: ProjectPaths,
    is_alive: Callable[[int, float], bool],
    flow_run_end: Callable[[str], str | None],
) -> Iterator[DeadRun]:
    """Find the runs that MLflow shows as running though their process or their flow run has ended.

    Args:
        is_alive: whether a process of this machine, by its PID, has been alive since a time in s
            since the epoch.
        flow_run_end: returns the final state of a flow run, by its id in Prefect; None: it has not
            ended, or is unknown.
    """
    for run in unfinished_runs(paths):
        host, _, pid = run.tags.get("process", "").rpartition(":")
        flow_run_id = run.tags.get(FLOW_RUN_ID_TAG)
        state = flow_run_end(flow_run_id) if flow_run_id is not None else None
        if state:
            yield DeadRun(run, f"ended {state}")
        elif host == platform.node() and not is_alive(int(pid), run.started):
            yield DeadRun(run, "its process is gone")


def mark_killed(run: StoredRun, paths: ProjectPaths) -> None:
    """Record that a run has been killed."""
    with mlflow_client(paths) as client:
        client.set_terminated(run.mlflow_run_id, "KILLED")
