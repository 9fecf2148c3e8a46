"""Work pools: the live workers of one, and runs in another one with a deadline for their start."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Cancelling
from prefect.types._datetime import now, parse_datetime

from creche.errors import PoolError, UnreachableError
from creche.operations.flow_runs import read_flow_run
from creche.records import WorkerStatus

# Prefect calls a worker online for a while after it is gone. The age of its last heartbeat, sent
# every 10 s under `creche up`, shows it sooner.
LIVE_SECONDS = 45
POLL_SECONDS = 1
REFUSED_STATE = "Refused"  # name of a state: this machine cannot do the run, another one might


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn the errors of a Prefect server that is away into one sentence.

    Raises:
        UnreachableError: it does not respond.
    """
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        url = get_current_settings().api.url
        raise UnreachableError(
            f"{url} does not respond ({error}): run `creche status`, or start it with `creche up`"
        ) from None


def workers(pool: str) -> list[WorkerStatus]:
    """Return the workers that the server knows in a pool, the latest heartbeat first."""
    with get_client(sync_client=True) as client:
        try:
            response = client.request(
                "POST",
                "/work_pools/{work_pool_name}/workers/filter",
                path_params={"work_pool_name": pool},
                json={},
            )
        except ObjectNotFound:
            return []
    statuses = []
    for worker in response.json():
        heartbeat = parse_datetime(worker["last_heartbeat_time"])
        age = (now("UTC") - heartbeat).total_seconds()
        statuses.append(WorkerStatus(name=worker["name"], seconds_since_heartbeat=age))
    return sorted(statuses, key=lambda worker: worker.seconds_since_heartbeat)


def live_names(known: Iterable[WorkerStatus]) -> list[str]:
    """Return the names of those workers whose last heartbeat is recent."""
    return [worker.name for worker in known if worker.seconds_since_heartbeat < LIVE_SECONDS]


def live_workers(pool: str) -> list[str]:
    """Return the names of the live workers of a pool."""
    return live_names(workers(pool))


def pool_of(flow_run_id: str | None) -> str | None:
    """Return the pool whose worker started a run; None for one that was started manually."""
    return read_flow_run(UUID(flow_run_id)).work_pool_name if flow_run_id else None


def run_in_pool(
    deployment: str,
    parameters: Mapping[str, Any],
    start_timeout_seconds: float,
    log: Callable[[str], None],
) -> FlowRun:
    """Have another pool do a run, and wait for its end.

    Args:
        deployment: `flow/name`, which determines the pool.
        parameters: of the flow.
        start_timeout_seconds: after which a run that no worker has started is canceled.
        log: gets a line when the run waits and when it starts.

    Returns:
        The run in its final state.

    Raises:
        PoolError: there is no such deployment, or no worker started the run in time.
    """
    try:
        created = run_deployment(deployment, parameters=dict(parameters), timeout=0)
    except ObjectNotFound:
        raise PoolError(
            f"there is no deployment {deployment}: name it in deploy/prefect.yaml, "
            "then run `creche down` and `creche up`"
        ) from None
    # Outside a coroutine it returns the run.
    child = cast(FlowRun, created)
    pool = child.work_pool_name or deployment
    live = ", ".join(live_workers(pool)) or "none"
    log(f"{deployment}: run {child.name} waits for a worker of pool {pool}; live workers: {live}")
    try:
        child = _wait_for_start(child, pool, start_timeout_seconds)
        log(f"{deployment}: run {child.name} has started")
        return _wait_for_end(child)
    finally:
        # The server may be what went wrong. The child itself watches its parent too.
        with suppress(Exception):
            _cancel_unfinished(read_flow_run(child.id))


def _wait_for_start(run: FlowRun, pool: str, timeout_seconds: float) -> FlowRun:
    deadline = time.monotonic() + timeout_seconds
    while True:
        run = read_flow_run(run.id)
        if run.state is not None and run.state.type not in (
            StateType.SCHEDULED,
            StateType.PENDING,
        ):
            return run
        if time.monotonic() > deadline:
            option = " --gpu" if pool == "gpu" else ""
            raise PoolError(
                f"no worker of pool {pool} started the run within {timeout_seconds:g} s "
                "(training.start_timeout_seconds): "
                f"run `creche up{option}` on a machine of that pool, or choose another pool"
            )
        time.sleep(POLL_SECONDS)


def _wait_for_end(run: FlowRun) -> FlowRun:
    while True:
        run = read_flow_run(run.id)
        if run.state is not None and run.state.is_final():
            return run
        time.sleep(POLL_SECONDS)


def _cancel_unfinished(run: FlowRun) -> None:
    if run.state is None or run.state.is_final():
        return
    state: State[None]
    if run.state.type == StateType.SCHEDULED:
        state = Cancelled(message="canceled: not started in time")
    else:
        state = Cancelling(message="no longer waited for")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, state)
