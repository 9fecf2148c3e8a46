"""Runs and slots that are not what the server takes them for, and their cure: what the keeper looks
after all the time.
"""

import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled
from prefect.types._datetime import DateTime, now

from creche.operations import pools, supervisor
from creche.operations.machine_checks import FIX, Issue
from creche.project import ProjectPaths

GONE_SECONDS = (
    20  # that a run's process may be missing, while its worker or itself still says how it ended
)
BEGIN_SECONDS = 120  # between a worker's taking a run and the start of its process
CANCEL_SECONDS = 20  # that a run gets to end itself after it was cancelled
OUTLIVED_SECONDS = 60  # that a process may take to go after its run has ended
BEGUN = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
PAGE = 200  # runs that the server gives at once
MARK = "PREFECT__FLOW_RUN_ID"  # in the environment of a run's process
SLOT_SECONDS = 400  # that a slot may be taken without a run: the server takes back by itself what was lent for 300
AGAIN_SECONDS = 3.0  # between two looks at a slot, where somebody waits for the answer
_missing: dict[UUID, float] = {}  # runs without a process, and since when (s since the epoch)
_surplus: dict[UUID, float] = {}  # the same of slots without a run


def reconcile(paths: ProjectPaths, say: Callable[[str, str], None]) -> None:
    """Put the runs right that have no process, no parent or no reason any more, and the slots that
    have no run; the keeper does it every few seconds.
    """
    for issue in (*run_issues(), *slot_issues(SLOT_SECONDS)):
        if issue.fix:
            issue.fix()
            say("doctor", issue.message)


def run_issues() -> Iterator[Issue]:
    """Runs whose state on the server is not true any more."""
    here = processes()
    begun = _runs(*BEGUN)
    for run in begun:
        yield from _unreal(run, here)
    for gone in _missing.keys() - {run.id for run in begun}:
        _missing.pop(gone)
    for identity in here.keys() - {str(run.id) for run in begun}:
        yield from _outlived(UUID(identity), here[identity])
    waiting = due_runs()
    for run in waiting:
        parent = run.parameters.get("parent")
        if parent and (state := pools.ended(parent)):
            yield _end(run, Cancelled(message=f"the run that asked for it has ended: {state}"))
    late = defaultdict(list)
    for run in waiting:
        if run.auto_scheduled and run.deployment_id:
            late[run.deployment_id].append(run)
    for runs in late.values():
        *before, last = sorted(runs, key=lambda r: r.expected_start_time)  # type: ignore[arg-type, return-value]
        for run in before:
            yield _end(
                run,
                Cancelled(
                    name="Superseded",
                    message=f"the run due at {last.expected_start_time:%Y-%m-%d %H:%M} does it",
                ),
            )


def slot_issues(patience: float) -> Iterator[Issue]:
    """ProjectPaths that a deployment's limit counts as taken, for longer than `patience` (s), and
    that no run has.
    """
    with get_client(sync_client=True) as client:
        limited = [d for d in client.read_deployments() if d.global_concurrency_limit]
    begun = Counter(
        run.deployment_id for run in _runs(*BEGUN)
    )  # asked after the limits: what begins takes its slot first
    for deployment in limited:
        limit = deployment.global_concurrency_limit
        assert limit is not None
        spare = int(limit.active_slots) - begun[deployment.id]
        if spare <= 0:
            _surplus.pop(limit.id, None)
        elif time.time() - _surplus.setdefault(limit.id, time.time()) >= patience:
            said = f"{deployment.name}: {spare} of {limit.limit} slots are taken by no run"
            yield Issue("slots", said, FIX, partial(_release, limit.id, limit.name, spare))


def _release(limit: UUID, name: str, slots: int) -> None:
    _surplus.pop(limit, None)
    with get_client(
        sync_client=True
    ) as client:  # fewer by so many, not set to a number: a run may begin at this moment
        client.request(
            "POST", "/v2/concurrency_limits/decrement", json={"names": [name], "slots": slots}
        )


def second_look() -> float:
    """In how many seconds a second look may find more; 0: it would not."""
    return GONE_SECONDS + 1.0 if _missing else AGAIN_SECONDS if _surplus else 0.0


def due_runs() -> list[FlowRun]:
    """Runs that could begin, if anybody began them."""
    return _runs(StateType.SCHEDULED, due=True)


def _unreal(run: FlowRun, here: dict[str, list[psutil.Process]]) -> Iterator[Issue]:
    """One run that should have a process, held against the processes of this machine."""
    state = run.state
    if state is None or not run.work_pool_name or not _ours(run.work_pool_name):
        return  # of another machine, or started by hand: its heartbeat tells
    age = (now("UTC") - state.timestamp).total_seconds()
    if processes := here.get(str(run.id)):
        _missing.pop(run.id, None)
        if state.type == StateType.CANCELLING and age > CANCEL_SECONDS:
            yield _end(
                run,
                Cancelled(message="cancelled; its process did not end by itself and was killed"),
                processes,
            )
        return
    if not run.infrastructure_pid and state.type == StateType.PENDING:
        # Its worker died between taking it and starting it.
        if age > BEGIN_SECONDS or (
            age > GONE_SECONDS and _started_again(run.work_pool_name, state.timestamp.timestamp())
        ):
            yield _end(run, Scheduled(message="the worker that took it was gone before it began"))
        return
    missing = now("UTC").timestamp() - _missing.setdefault(run.id, now("UTC").timestamp())
    if missing >= GONE_SECONDS or state.type == StateType.CANCELLING:
        cancelled = state.type == StateType.CANCELLING
        yield _end(
            run,
            Cancelled()
            if cancelled
            else Crashed(message="its process is gone: killed, or its machine ran out of memory"),
        )


def _outlived(identity: UUID, processes: list[psutil.Process]) -> Iterator[Issue]:
    """A run that has ended for the server, and whose process goes on: it would promote what nobody
    waits for.
    """
    with suppress(ObjectNotFound):  # of another server
        run = pools.read(identity)
        state = run.state
        if (
            state
            and state.is_final()
            and (now("UTC") - state.timestamp).total_seconds() > OUTLIVED_SECONDS
        ):
            yield Issue(
                "runs",
                f"{run.name} ended {state.name}, and its process did not",
                FIX,
                partial(kill, processes),
            )


def kill(processes: Iterable[psutil.Process]) -> None:
    """End the processes of a run, with all that they have started."""
    for process in processes:
        with suppress(ProcessLookupError):
            supervisor.end_group(os.getpgid(process.pid))


def _end(run: FlowRun, state: "State[None]", processes: Iterable[psutil.Process] = ()) -> Issue:
    def fix() -> None:
        kill(processes)
        if not (pools.read(run.id).state or state).is_final():
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, state, force=True)
        _missing.pop(run.id, None)

    was = run.state.name if run.state else "without a state"
    return Issue("runs", f"{run.name} is {was}: {state.message or state.name}", FIX, fix)


def _started_again(pool: str, since: float) -> bool:
    """Whether the keeper has started the worker of a pool since then: what the one before had
    taken, nobody begins.
    """
    kept = (
        (supervisor.record(ProjectPaths.find()) or {}).get("children", {}).get(f"worker-{pool}", {})
    )
    return float(kept.get("started", 0)) > since


def _ours(pool: str) -> bool:
    """Whether every worker that the server knows in a pool is of this machine."""
    known = pools.workers(pool)
    return bool(known) and all(w["name"] == f"{platform.node()}-{pool}" for w in known)


def processes() -> dict[str, list[psutil.Process]]:
    """The processes of this machine that are runs, by the run's id."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            run = process.environ().get(MARK)
            if run and process.status() != psutil.STATUS_ZOMBIE:
                found[run].append(process)
    return found


def _runs(*types: StateType, due: bool = False) -> list[FlowRun]:
    before = (
        FlowRunFilterExpectedStartTime(before_=DateTime.instance(now("UTC") - timedelta(seconds=1)))
        if due
        else None
    )
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
        expected_start_time=before,
    )
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=wanted, limit=PAGE, sort=FlowRunSort.EXPECTED_START_TIME_ASC
        )
