"""Mark the MLflow runs of killed processes as killed.

`creche up` checks once a minute. On a SQLite store the check is a read of its tables; any other
store is checked only after a flow run was interrupted. Marking is done by a process of its
own (`python -m creche.operations.mlflow_reconciler`), because MLflow takes seconds and 200 MB to
import, which the supervisor must not spend.
"""

import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID

from prefect.exceptions import ObjectNotFound

from creche import registry
from creche.errors import CrecheError
from creche.operations.flow_runs import final_state, read_flow_run
from creche.operations.processes import is_alive
from creche.operations.service_log import Log
from creche.project import ProjectPaths
from creche.registry import DeadRun, StoredRun

CHECK_SECONDS = 60  # between two checks
# After its flow run has ended, a run's process may take a minute until the services of its machine
# kill it (run_reconciler.OUTLIVED_SECONDS). Until then it may still write to its MLflow run.
SETTLED_SECONDS = 90
# How often a store that is not SQLite is checked after an interrupted flow run: at least once
# after SETTLED_SECONDS.
CHECKS_AFTER_INTERRUPTION = 3
MARK_TIMEOUT_SECONDS = 120


def killed_runs(paths: ProjectPaths) -> Iterator[DeadRun]:
    """Find the runs that MLflow shows as running and whose process is certainly gone.

    Stricter than `registry.dead_runs`, because no person confirms it: a flow run that counts as
    crashed because its heartbeats did not arrive may be alive, and so may one without a process on
    this machine, if two machines have the same name.
    """
    settled_state = partial(final_state, min_age_seconds=SETTLED_SECONDS)
    for dead in registry.dead_runs(paths, is_alive, settled_state):
        if not _has_local_process(dead.run) and not _is_in_progress(dead.run):
            yield dead


def _has_local_process(run: StoredRun) -> bool:
    host, _, pid = run.tags.get("process", "").rpartition(":")
    return host == platform.node() and pid.isdigit() and is_alive(int(pid), run.started)


def _is_in_progress(run: StoredRun) -> bool:
    """Return whether Prefect knows a flow run of it that has not ended."""
    flow_run_id = run.tags.get(registry.FLOW_RUN_ID_TAG)
    if flow_run_id is None:
        return False
    try:
        state = read_flow_run(UUID(flow_run_id)).state
    except ObjectNotFound:
        # It ran on another server, as one does without services.
        return False
    return state is not None and not state.is_final()


class MlflowReconciler:
    """Checks for killed runs at most once a minute, and has them marked.

    Args:
        paths: of the project.
        log: gets a line for each run that was marked.
    """

    def __init__(self, paths: ProjectPaths, log: Log) -> None:
        self._paths = paths
        self._log = log
        self._next_check = 0.0  # monotonic, s
        # A run may have been killed while no services ran.
        self._remaining_checks = 1  # of a store that is not SQLite
        self._marking: subprocess.Popen[str] | None = None
        self._marking_deadline = 0.0

    def flow_run_interrupted(self) -> None:
        """Note that a flow run has crashed or was canceled."""
        self._remaining_checks = CHECKS_AFTER_INTERRUPTION

    def reconcile(self) -> None:
        """Check if it is time to, and start marking; never waits for it."""
        if self._marking is not None:
            self._finish_marking()
            return
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_SECONDS
        if self._may_have_killed_runs():
            self._start_marking()

    def close(self) -> None:
        """End a marking in progress."""
        if self._marking is not None:
            self._marking.kill()
            self._marking.communicate()
            self._marking = None

    def _may_have_killed_runs(self) -> bool:
        location = registry.store_location(self._paths)
        if location.sqlite_file is None:
            return self._remaining_checks > 0
        return next(killed_runs(self._paths), None) is not None

    def _start_marking(self) -> None:
        self._marking = subprocess.Popen(
            [sys.executable, "-m", "creche.operations.mlflow_reconciler"],
            cwd=self._paths.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._marking_deadline = time.monotonic() + MARK_TIMEOUT_SECONDS

    def _finish_marking(self) -> None:
        marking = self._marking
        if marking is None:
            return
        if marking.poll() is None:
            if time.monotonic() < self._marking_deadline:
                return
            marking.kill()
        output, errors = marking.communicate()
        self._marking = None
        for line in output.splitlines():
            self._log("reconcile", line)
        if marking.returncode == 0:
            self._remaining_checks -= 1
        else:
            last_line = (errors.strip().splitlines() or ["no output"])[-1]
            self._log("reconcile", f"MLflow runs cannot be reconciled: {last_line}")


def mark_killed_runs(paths: ProjectPaths) -> None:
    """Mark the killed runs in MLflow, and print a line for each."""
    for dead in list(killed_runs(paths)):
        try:
            registry.mark_killed(dead.run, paths)
        except CrecheError as error:
            # One run that cannot be marked must not keep the others.
            print(f"{dead.run.name} of {dead.run.recipe} cannot be marked: {error}", flush=True)
            continue
        message = f"{dead.run.name} of {dead.run.recipe} was RUNNING in MLflow, and {dead.reason}"
        print(message, flush=True)


if __name__ == "__main__":
    mark_killed_runs(ProjectPaths.find())
