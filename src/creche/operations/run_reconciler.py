"""Bring the states of flow runs on the server in line with the processes of this machine."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID

import psutil
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from creche.operations import pools, service_state
from creche.operations.flow_runs import (
    due_runs,
    final_state,
    force_state,
    read_flow_run,
    runs_in_progress,
    state_age,
)
from creche.operations.issues import FIX, Issue, fix_and_log
from creche.operations.run_processes import kill_processes, processes_by_run
from creche.operations.servers import worker_name, worker_process_name
from creche.operations.service_log import Log
from creche.operations.slot_reconciler import SlotReconciler
from creche.project import ProjectPaths

MISSING_SECONDS = 20  # without a process, while its worker or the run may still report its end
START_SECONDS = 120  # between a worker's claim of a run and the start of its process
CANCEL_SECONDS = 20  # that a canceled run has to end by itself
OUTLIVED_SECONDS = 60  # that a process may take to end after its run
CONFIRM_SECONDS = MISSING_SECONDS + 1.0


class RunReconciler:
    """Finds flow runs whose state is no longer true, and sets the true one.

    A run without a process is an issue only once it has been so for a while; the instance
    remembers since when.
    """

    def __init__(self, paths: ProjectPaths) -> None:
        self.slots = SlotReconciler()
        self._paths = paths
        self._missing_since: dict[UUID, float] = {}  # run without a process → s since the epoch

    def reconcile(self, log: Log) -> None:
        """Fix every issue with runs and slots, and log it.

        Raises:
            Exception: that of the last fix that failed; the others are done all the same.
        """
        fix_and_log((*self.issues(), *self.slots.issues()), log)

    def confirm_seconds(self) -> float:
        """Return in how many seconds a second pass may find more; 0 where it would not."""
        if self._missing_since:
            return CONFIRM_SECONDS
        return self.slots.confirm_seconds()

    def issues(self) -> Iterator[Issue]:
        """Find the runs whose state is no longer true."""
        processes = processes_by_run()
        in_progress = runs_in_progress()
        for run in in_progress:
            issue = self._check_in_progress(run, processes.get(str(run.id), []))
            if issue is not None:
                yield issue
        in_progress_ids = {run.id for run in in_progress}
        for ended in self._missing_since.keys() - in_progress_ids:
            del self._missing_since[ended]
        for flow_run_id, of_run in processes.items():
            if UUID(flow_run_id) not in in_progress_ids:
                yield from _check_outlived(UUID(flow_run_id), of_run)
        waiting = due_runs()
        yield from self._check_parents(waiting)
        yield from self._check_superseded(waiting)

    def _check_in_progress(self, run: FlowRun, processes: list[psutil.Process]) -> Issue | None:
        """Compare a run that should have a process with the processes of this machine."""
        state = run.state
        if state is None or not run.work_pool_name or not is_local(run.work_pool_name):
            # Of another machine, or started manually: missed heartbeats mark it.
            return None
        if processes:
            self._missing_since.pop(run.id, None)
            if state.type == StateType.CANCELLING and state_age(run) > CANCEL_SECONDS:
                message = "canceled; its process did not end by itself and was killed"
                return self._state_issue(run, Cancelled(message=message), processes)
            return None
        if state.type == StateType.PENDING and not run.infrastructure_pid:
            if self._is_claim_lost(run, run.work_pool_name):
                message = "the worker that took it was gone before it began"
                return self._state_issue(run, Scheduled(message=message))
            return None
        now = time.time()
        missing_seconds = now - self._missing_since.setdefault(run.id, now)
        if state.type == StateType.CANCELLING:
            return self._state_issue(run, Cancelled())
        if missing_seconds >= MISSING_SECONDS:
            message = "its process is gone: killed, or its machine ran out of memory"
            return self._state_issue(run, Crashed(message=message))
        return None

    def _is_claim_lost(self, run: FlowRun, pool: str) -> bool:
        """Return whether the worker that claimed a pending run will never start it."""
        age = state_age(run)
        if age > START_SECONDS:
            return True
        # What a worker had claimed when it ended, its successor does not start.
        return age > MISSING_SECONDS and self._worker_started_after(run, pool)

    def _worker_started_after(self, run: FlowRun, pool: str) -> bool:
        services = service_state.read_state(self._paths)
        if services is None or run.state is None:
            return False
        worker = services.processes.get(worker_process_name(pool))
        return worker is not None and worker.started > run.state.timestamp.timestamp()

    def _check_parents(self, waiting: list[FlowRun]) -> Iterator[Issue]:
        """Find trainings that wait for a worker though the run that needs them has ended."""
        for run in waiting:
            parent_id = run.parameters.get("parent_flow_run_id")
            state = final_state(parent_id) if parent_id else None
            if state is not None:
                message = f"its parent run has ended: {state}"
                yield self._state_issue(run, Cancelled(message=message))

    def _check_superseded(self, waiting: list[FlowRun]) -> Iterator[Issue]:
        """Find scheduled runs of a deployment of which a later one is due too."""
        due: dict[UUID, list[FlowRun]] = defaultdict(list)
        for run in waiting:
            if run.auto_scheduled and run.deployment_id and run.expected_start_time:
                due[run.deployment_id].append(run)
        for runs in due.values():
            *earlier, last = sorted(runs, key=_expected_start)
            message = f"superseded by the run due at {last.expected_start_time:%Y-%m-%d %H:%M}"
            for run in earlier:
                yield self._state_issue(run, Cancelled(name="Superseded", message=message))

    def _state_issue(
        self, run: FlowRun, state: "State[None]", processes: Iterable[psutil.Process] = ()
    ) -> Issue:
        """Return the issue whose fix kills the processes and sets the state."""

        def fix() -> None:
            kill_processes(processes)
            current = read_flow_run(run.id).state
            # It may have ended by itself meanwhile.
            if current is None or not current.is_final():
                force_state(run.id, state)
            self._missing_since.pop(run.id, None)

        current_name = run.state.name if run.state else "without a state"
        reason = state.message or state.name
        return Issue("runs", f"{run.name} is {current_name}: {reason}", FIX, fix)


def _expected_start(run: FlowRun) -> float:
    return run.expected_start_time.timestamp() if run.expected_start_time else 0.0


def _check_outlived(flow_run_id: UUID, processes: list[psutil.Process]) -> Iterator[Issue]:
    """Find processes that go on after their run has ended: they could still promote a model."""
    # The run may be one of another server.
    with suppress(ObjectNotFound):
        run = read_flow_run(flow_run_id)
        state = run.state
        if state and state.is_final() and state_age(run) > OUTLIVED_SECONDS:
            message = f"{run.name} ended {state.name}, and its process did not"
            yield Issue("runs", message, FIX, partial(kill_processes, processes))


def is_local(pool: str) -> bool:
    """Return whether every worker that the server knows in a pool is of this machine."""
    workers = pools.workers(pool)
    return bool(workers) and all(worker.name == worker_name(pool) for worker in workers)
