"""The part of `creche status` that the Prefect server knows: pools and runs."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.types._datetime import now

from creche.operations import pools
from creche.operations.flow_runs import find_flow_runs
from creche.records import FlowRunStatus, PoolStatus, Status

MAX_WORKERS = 5  # of a pool in the report
MAX_RUNNING = 50
MAX_FINISHED = 5
DUE_BEFORE_SECONDS = 1  # before its expected start a run counts as waiting already
UNFINISHED = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
FINISHED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


def fill(report: Status, expected_pools: Sequence[str]) -> None:
    """Add pools and runs to a report, and whether all is healthy.

    Args:
        report: with its servers.
        expected_pools: those that this machine should have a worker for.

    Raises:
        UnreachableError: the server does not respond.
    """
    with pools.server_errors():
        report.pools = _pools(expected_pools)
        running = find_flow_runs(UNFINISHED, sort=FlowRunSort.START_TIME_ASC, limit=MAX_RUNNING)
        report.running = [_status(run) for run in running]
        due, later = _scheduled()
        report.queued = [_status(run) for run in due]
        report.scheduled = _next_of_each_deployment(later)
        finished = find_flow_runs(FINISHED, sort=FlowRunSort.END_TIME_DESC, limit=MAX_FINISHED)
        report.finished = [_status(run) for run in finished]
    servers_respond = all(server.responds for server in report.servers)
    has_workers = all(pool.live for pool in report.pools if pool.expected)
    report.healthy = report.ready and servers_respond and has_workers


def _pools(expected_pools: Sequence[str]) -> list[PoolStatus]:
    with get_client(sync_client=True) as client:
        known = client.read_work_pools()
    statuses = []
    for pool in known:
        workers = pools.workers(pool.name)
        statuses.append(
            PoolStatus(
                name=pool.name,
                paused=pool.is_paused,
                expected=pool.name in expected_pools,
                workers=workers[:MAX_WORKERS],
                live=pools.live_names(workers),
            )
        )
    return statuses


def _scheduled() -> tuple[list[FlowRun], list[FlowRun]]:
    """Return the scheduled runs that are due, and those that are not yet, by expected start."""
    due = []
    later = []
    soon = now("UTC") + timedelta(seconds=DUE_BEFORE_SECONDS)
    for run in find_flow_runs([StateType.SCHEDULED]):
        if run.expected_start_time and run.expected_start_time <= soon:
            due.append(run)
        else:
            later.append(run)
    return due, later


def _next_of_each_deployment(scheduled: list[FlowRun]) -> list[FlowRunStatus]:
    names = _deployment_names()
    first: dict[UUID | None, FlowRun] = {}
    for run in scheduled:
        first.setdefault(run.deployment_id, run)
    statuses = []
    for deployment, run in first.items():
        status = _status(run)
        if deployment in names:
            status.name = names[deployment]
        statuses.append(status)
    return statuses


def _deployment_names() -> dict[UUID, str]:
    """Return `flow/deployment` for each deployment of creche."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=["creche"]))
    names = {}
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(deployment_filter=tagged):
            flow = client.read_flow(deployment.flow_id)
            names[deployment.id] = f"{flow.name}/{deployment.name}"
    return names


def _status(run: FlowRun) -> FlowRunStatus:
    time = run.end_time or run.start_time or run.expected_start_time
    state = run.state
    return FlowRunStatus(
        id=str(run.id),
        name=run.name,
        state=state.name if state else None,
        message=(state.message or "") if state else "",
        time=str(time)[:19],
        pool=run.work_pool_name,
    )
