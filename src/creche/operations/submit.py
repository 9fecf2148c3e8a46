"""`creche submit`: send a run to a pool, and print its log until it ends."""

import time
from collections.abc import Callable

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound

from creche.errors import PoolError
from creche.operations import pools
from creche.operations.flow_runs import read_flow_run
from creche.operations.service_settings import CONFIG
from creche.registry.manual_promotion import user_name

TASK_FINISHED = "Finished in state Completed"
PAGE_SIZE = 200  # log lines in one response, the server's limit
POLL_SECONDS = 1
LAST_LINES_SECONDS = 2  # the last lines reach the server after the final state
HOW_TO_ADD = f"name it in {CONFIG}, then run `creche down` and `creche up`"


def submit(recipe: str, pool: str | None, force: bool, on_line: Callable[[str], None]) -> FlowRun:
    """Run the deployment `retrain/<recipe>`, and follow its log.

    Args:
        recipe: its name.
        pool: where to train, in place of the recipe's pool.
        force: train although nothing has changed.
        on_line: called with the address of the run's page, and with each line of its log.

    Returns:
        The run in its final state.

    Raises:
        PoolError: there is no such deployment or pool.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"retrain/{recipe}")
        except ObjectNotFound:
            raise PoolError(f"there is no deployment retrain/{recipe}: {HOW_TO_ADD}") from None
        known = [work_pool.name for work_pool in client.read_work_pools()]
        if pool and pool not in known:
            raise PoolError(f"there is no pool {pool}, only {', '.join(known)}: {HOW_TO_ADD}")
        trigger = f"submitted by {user_name()}"
        parameters = {"pool": pool, "force": force, "trigger": trigger}
        run: FlowRun = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        ui_url = str(client.api_url).rstrip("/").removesuffix("/api")
    on_line(f"{ui_url}/runs/flow-run/{run.id}")
    run_pool = deployment.work_pool_name
    if run_pool and not pools.live_workers(run_pool):
        on_line(f"pool {run_pool} has no live worker, so the run waits: run `creche up`")
    return follow(run, on_line)


def follow(run: FlowRun, on_line: Callable[[str], None]) -> FlowRun:
    """Pass on a run's log as it grows, and return the run when it has ended."""
    n_lines = 0
    while True:
        run = read_flow_run(run.id)
        has_ended = run.state is not None and run.state.is_final()
        if has_ended:
            time.sleep(LAST_LINES_SECONDS)
        for line in _read_log(run, n_lines):
            n_lines += 1
            # Prefect's own line for each task does not name it; the run's log does.
            if not line.message.startswith(TASK_FINISHED):
                on_line(f"{line.timestamp:%H:%M:%S}  {line.message}")
        if has_ended:
            return run
        time.sleep(POLL_SECONDS)


def _read_log(run: FlowRun, offset: int) -> list[Log]:
    """Return the log lines of a run from `offset` on."""
    log_filter = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    lines: list[Log] = []
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_logs(
                log_filter=log_filter,
                limit=PAGE_SIZE,
                offset=offset + len(lines),
                sort=LogSort.TIMESTAMP_ASC,
            )
            lines += page
            if len(page) < PAGE_SIZE:
                return lines
