"""Work pools and deployments on the Prefect server, as deploy/prefect.yaml states them."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.workers.process import ProcessWorker

from creche.errors import CrecheError
from creche.operations.flow_runs import find_flow_runs
from creche.operations.servers import CLIENT_RETRIES
from creche.operations.service_log import Log
from creche.operations.service_settings import CONFIG
from creche.operations.supervisor import Supervisor
from creche.project import ProjectPaths

SCHEDULE_SECONDS = 20  # that the server may take to schedule the next runs
LAST_LINES = 3  # of Prefect's output, where it refuses the file


def apply_deployments(paths: ProjectPaths, pools: Mapping[str, int], log: Log) -> None:
    """Create or update the work pools and the deployments. A pool that is paused stays paused.

    Args:
        paths: of the project.
        pools: name → number of concurrent runs.
        log: gets a line when it is done.

    Raises:
        CrecheError: Prefect refuses the file.
    """
    create_pools(pools)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", CONFIG]
    result = subprocess.run(  # noqa: S603
        command,
        cwd=paths.root,
        env={**os.environ, **CLIENT_RETRIES},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        output = result.stdout + result.stderr
        lines = [line for line in output.splitlines() if line.strip()]
        raise CrecheError(f"{CONFIG} cannot be applied: {' '.join(lines[-LAST_LINES:])}")
    log("creche", f"{CONFIG} applied")


def create_pools(pools: Mapping[str, int]) -> None:
    """Create or update work pools.

    Args:
        pools: name → number of concurrent runs.
    """
    template = ProcessWorker.get_default_base_job_template()
    # Otherwise a run ends with its worker, at the next line of its log.
    template["variables"]["properties"]["stream_output"]["default"] = False
    with get_client(sync_client=True) as client:
        paused = {pool.name for pool in client.read_work_pools() if pool.is_paused}
        for name, limit in pools.items():
            pool = WorkPoolCreate(
                name=name,
                type="process",
                base_job_template=template,
                concurrency_limit=limit,
                is_paused=name in paused,
            )
            client.create_work_pool(pool, overwrite=True)


def is_paused(pool: str) -> bool:
    """Return whether a work pool is paused."""
    with get_client(sync_client=True) as client:
        return client.read_work_pool(pool).is_paused


def set_paused(pool: str, paused: bool) -> None:
    """Pause or resume a work pool: runs wait in a paused one."""
    with get_client(sync_client=True) as client:
        client.update_work_pool(pool, WorkPoolUpdate(is_paused=paused))


def wait_for_schedules(supervisor: Supervisor) -> None:
    """Wait a moment until each schedule has its next run, so that `creche status` can list it."""
    deployments = _scheduled_deployments()
    deadline = time.monotonic() + SCHEDULE_SECONDS
    while time.monotonic() < deadline:
        scheduled = {run.deployment_id for run in find_flow_runs([StateType.SCHEDULED])}
        if deployments <= scheduled:
            return
        supervisor.restart_dead()
        time.sleep(1)


def _scheduled_deployments() -> set[UUID]:
    deployments = set()
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            has_active_schedule = any(schedule.active for schedule in deployment.schedules)
            if has_active_schedule and not deployment.paused:
                deployments.add(deployment.id)
    return deployments
