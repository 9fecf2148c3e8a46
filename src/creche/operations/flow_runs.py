"""Flow runs on the Prefect server: queries, and states that the services set."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.types._datetime import DateTime, now

# A run in one of these holds a slot, and should have a process.
IN_PROGRESS = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
PAGE_SIZE = 200  # runs in one response, the server's limit
DUE_AFTER_SECONDS = 1  # after its expected start a run counts as due


def find_flow_runs(
    state_types: Sequence[StateType],
    *,
    pool: str | None = None,
    due_only: bool = False,
    sort: FlowRunSort = FlowRunSort.EXPECTED_START_TIME_ASC,
    limit: int = PAGE_SIZE,
) -> list[FlowRun]:
    """Return the flow runs in some states.

    Args:
        state_types: any of these.
        pool: only runs of this work pool.
        due_only: only runs whose expected start has passed.
        sort: the order.
        limit: of the number of runs.
    """
    expected_start = None
    if due_only:
        before = DateTime.instance(now("UTC") - timedelta(seconds=DUE_AFTER_SECONDS))
        expected_start = FlowRunFilterExpectedStartTime(before_=before)
    flow_run_filter = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(state_types))),
        expected_start_time=expected_start,
    )
    pool_filter = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])) if pool else None
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=flow_run_filter, work_pool_filter=pool_filter, sort=sort, limit=limit
        )


def runs_in_progress(pool: str | None = None) -> list[FlowRun]:
    """Return the runs, of one pool or of all, that have begun and not ended."""
    return find_flow_runs(IN_PROGRESS, pool=pool)


def due_runs() -> list[FlowRun]:
    """Return the runs that could start and wait for a worker."""
    return find_flow_runs([StateType.SCHEDULED], due_only=True)


def read_flow_run(flow_run_id: UUID) -> FlowRun:
    """Return a flow run as the server knows it."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id)


def force_state(flow_run_id: UUID, state: "State[None]") -> None:
    """Set a run's state regardless of the server's rules."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, state, force=True)


def state_age(run: FlowRun) -> float:
    """Return since when a run is in its state (s); 0 for one without a state."""
    if run.state is None:
        return 0.0
    return float((now("UTC") - run.state.timestamp).total_seconds())


def final_state(flow_run_id: str, min_age_seconds: float = 0.0) -> str | None:
    """Return the name of a run's final state.

    Returns:
        None while it has not ended (or less than `min_age_seconds` ago), and where the server does
        not respond or does not know the run.
    """
    with suppress(Exception):
        run = read_flow_run(UUID(flow_run_id))
        if run.state and run.state.is_final() and state_age(run) >= min_age_seconds:
            return run.state.name
    return None
