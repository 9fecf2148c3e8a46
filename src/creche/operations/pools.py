"""Work pools: who is alive in one, and a run handed to another with a deadline for its start."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Cancelling
from prefect.types._datetime import now, parse_datetime

from creche.errors import PoolError, UnreachableError

STALE_SECONDS = (
    45  # after which a worker's heartbeat (every 10 s under `creche up`) says nothing any more
)
FINISH_SECONDS = 120  # that a run which was asked to stop gets for it
REFUSED = "Refused"  # a state's name: this machine cannot do what was asked, another one might


@contextmanager
def server_errors() -> Iterator[None]:
    """What a server that is away means for the words that ask it.

    Raises:
        UnreachableError: it does not answer.
    """
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        raise UnreachableError(
            f"{get_current_settings().api.url} does not answer ({error}): creche up, creche status"
        ) from None


def workers(pool: str) -> list[dict[str, Any]]:
    """The workers that the server knows in a pool, with the seconds since each was heard of."""
    with get_client(sync_client=True) as client:
        try:
            answer = client.request(
                "POST",
                "/work_pools/{work_pool_name}/workers/filter",
                path_params={"work_pool_name": pool},
                json={},
            )
        except ObjectNotFound:
            return []
    found = []
    for worker in answer.json():
        heard = parse_datetime(worker["last_heartbeat_time"])
        found.append({"name": worker["name"], "seconds": (now("UTC") - heard).total_seconds()})
    return sorted(found, key=lambda w: w["seconds"])


def live(pool: str) -> list[str]:
    """Prefect calls a worker online for a while after it is gone; the age of its last heartbeat
    does not.
    """
    return among(workers(pool))


def among(known: list[dict[str, Any]]) -> list[str]:
    """Which of the workers that `workers` gave are alive."""
    return [w["name"] for w in known if w["seconds"] < STALE_SECONDS]


def read(run: UUID) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


def pool_of(run: str | None) -> str | None:
    """The pool whose worker started a run; None for one that was started by hand."""
    return read(UUID(run)).work_pool_name if run else None


def run_in_pool(
    deployment: str,
    parameters: Mapping[str, Any],
    start_timeout_seconds: float,
    say: Callable[[str], None],
) -> FlowRun:
    """Have another pool do a run, and wait for its end; a run that no worker has started in time is
    taken back.

    Raises:
        PoolError: there is no such deployment, or no worker started the run in time.
    """
    try:
        child: FlowRun = run_deployment(deployment, parameters=dict(parameters), timeout=0)  # type: ignore[assignment]
    except ObjectNotFound:
        raise PoolError(
            f"there is no deployment {deployment}: name it in deploy/prefect.yaml, then creche up"
        ) from None
    pool, asked = child.work_pool_name or deployment, time.monotonic()
    say(
        f"{deployment}: run {child.name} waits for a worker of pool {pool}; alive: {', '.join(live(pool)) or 'none'}"
    )
    try:
        while (child := read(child.id)).state.type in (StateType.SCHEDULED, StateType.PENDING):  # type: ignore[union-attr]
            if time.monotonic() - asked > start_timeout_seconds:
                raise PoolError(
                    f"no worker of pool {pool} started the run within {start_timeout_seconds:g} s "
                    "(training.start_timeout_seconds): "
                    f"start one there (creche up{' --gpu' if pool == 'gpu' else ''}), or choose another pool"
                )
            time.sleep(1)
        say(f"{deployment}: run {child.name} has started")
        while not (child := read(child.id)).state.is_final():  # type: ignore[union-attr]
            time.sleep(1)
    finally:
        with suppress(
            Exception
        ):  # the server may be what went wrong; the child looks after its parent too
            _take_back(child)
    return child


def _take_back(child: FlowRun) -> None:
    if child.state is None or child.state.is_final():
        return
    with get_client(sync_client=True) as client:
        waiting = child.state.type == StateType.SCHEDULED
        message = "taken back: not started in time" if waiting else "no longer waited for"
        client.set_flow_run_state(
            child.id, Cancelled(message=message) if waiting else Cancelling(message=message)
        )


def ended(run: str) -> str | None:
    """How a run ended, or None while it has not; a server that does not answer says nothing."""
    with suppress(Exception):
        state = read(UUID(run)).state
        if state and state.is_final():
            return state.name
    return None
