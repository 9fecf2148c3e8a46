"""`creche submit`: send a run to a pool, follow its log, and end as it ends."""

import getpass
import time
from collections.abc import Callable
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound

from creche.errors import PoolError
from creche.operations import pools
from creche.operations.services import CONFIG

PAGE = 200  # log lines that the server gives at once


def submit(recipe: str, pool: str | None, force: bool, tell: Callable[[str], None]) -> FlowRun:
    """Send `retrain/<recipe>` and follow it; its last state.

    Raises:
        PoolError: there is no such deployment or pool.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"retrain/{recipe}")
        except ObjectNotFound:
            raise PoolError(
                f"there is no deployment retrain/{recipe}: name it in {CONFIG}, then creche down, creche up"
            ) from None
        known = [p.name for p in client.read_work_pools()]
        if pool and pool not in known:
            raise PoolError(
                f"there is no pool {pool}, only {', '.join(known)}: name it in {CONFIG}, then creche down, creche up"
            )
        asked = {"pool": pool, "force": force, "trigger": f"submitted by {getpass.getuser()}"}
        run: FlowRun = client.create_flow_run_from_deployment(deployment.id, parameters=asked)
        tell(f"{str(client.api_url).rstrip('/').removesuffix('/api')}/runs/flow-run/{run.id}")
    if deployment.work_pool_name and not pools.live(deployment.work_pool_name):
        tell(
            f"no worker of pool {deployment.work_pool_name} is alive: the run waits for one (creche up)"
        )
    return follow(run, tell)


def follow(run: FlowRun, tell: Callable[[str], None]) -> FlowRun:
    """Tell a run's log lines as they come, until it has ended."""
    offset = 0
    while True:
        run = pools.read(run.id)
        ended = run.state is not None and run.state.is_final()
        if ended:
            time.sleep(2)  # the last lines reach the server after the state
        while lines := _lines(run, offset):
            offset += len(lines)
            for line in lines:
                tell(f"{line.timestamp:%H:%M:%S}  {line.message}")
        if ended:
            return run
        time.sleep(1)


def _lines(run: FlowRun, offset: int) -> list[Any]:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        return client.read_logs(
            log_filter=wanted, limit=PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC
        )
