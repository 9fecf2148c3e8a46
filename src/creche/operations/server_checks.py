"""Checks of `creche doctor` that ask the servers, or compare the processes of the services."""

import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.error import HTTPError

import prefect
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import get_current_settings
from prefect.types._datetime import DateTime, now

from creche.operations import machine_checks, pools, service_state
from creche.operations.flow_runs import due_runs
from creche.operations.issues import FIX, INSTALL, Issue, readable_size
from creche.operations.processes import is_alive
from creche.operations.run_processes import processes_by_run
from creche.operations.servers import RESPONSE_SECONDS, mlflow_responds, responds
from creche.operations.service_settings import CONFIG, load_settings
from creche.project import ProjectPaths
from creche.records import ServicesState

LATE_SECONDS = 60  # that a due run may wait before its pool is checked
GRACE_DAYS = 3  # beyond creche.keep_days: the server deletes old runs now and then
MAX_DATABASE_BYTES = 5e9  # of Prefect's SQLite file
RESTART = "creche down && creche up --detach"
RESTART_NOW = "creche down --now && creche up --detach"
# That all processes of the services should have alike.
SHARED_SETTINGS = (
    "PREFECT_API_URL",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY",
    "MLFLOW_TRACKING_URI",
    "CRECHE_HOME",
    "CRECHE_ROOT",
    "TZ",
)
# That all workers and runs should have alike; the servers have another value.
WORKER_SETTINGS = ("PREFECT_CLIENT_MAX_RETRIES",)


def server(paths: ProjectPaths, api_url: str | None) -> Iterator[Issue]:
    """Check that the servers that should run respond.

    Args:
        paths: of the project.
        api_url: of the Prefect server; None where no address is known.
    """
    services = service_state.read_state(paths)
    if api_url and not responds(f"{api_url}/ready"):
        remedy = RESTART_NOW if services else "unset PREFECT_API_URL; creche up --detach"
        yield Issue("server", f"Prefect at {api_url} does not respond", remedy)
    addresses = services.addresses if services else None
    if addresses and not mlflow_responds(addresses):
        message = f"MLflow at {addresses.mlflow_url} does not respond"
        yield Issue("server", message, RESTART_NOW)


def work_pools(paths: ProjectPaths) -> Iterator[Issue]:
    """Find pools that are paused, or where runs wait and no worker is alive."""
    services = service_state.read_state(paths)
    if services and services.shutdown:
        # They are paused until the runs in progress have ended.
        return
    with get_client(sync_client=True) as client:
        known = client.read_work_pools()
    late = now("UTC") - timedelta(seconds=LATE_SECONDS)
    late_runs: Counter[str | None] = Counter()
    for run in due_runs():
        if run.expected_start_time and run.expected_start_time < late:
            late_runs[run.work_pool_name] += 1
    for pool in known:
        yield from _check_pool(pool, late_runs[pool.name], services)


def _check_pool(pool: WorkPool, n_late: int, services: ServicesState | None) -> Iterator[Issue]:
    waiting = f"{n_late} runs wait in it" if n_late else "no run is late"
    if pool.is_paused:
        url = get_current_settings().api.url
        remedy = f"PREFECT_API_URL={url} prefect work-pool resume {pool.name}"
        yield Issue("pools", f"pool {pool.name} is paused; {waiting}", remedy)
    is_expected = services is not None and pool.name in services.pools
    if (n_late or is_expected) and not pools.live_workers(pool.name):
        stop = "creche down && " if services else ""
        option = " --gpu" if pool.name == "gpu" else ""
        message = f"pool {pool.name} has no live worker; {waiting}"
        yield Issue("pools", message, f"{stop}creche up --detach{option}")


def clocks(paths: ProjectPaths, api_url: str | None) -> Iterator[Issue]:
    """Compare the clocks of the disk and of the Prefect server with this machine's."""
    yield from machine_checks.disk_clock(paths)
    if not api_url:
        return
    url = f"{api_url}/ready"
    try:
        response = urllib.request.urlopen(url, timeout=RESPONSE_SECONDS)  # noqa: S310
    except HTTPError as error:
        # A server that asks for a password sends its time too.
        response = error
    with response:
        server_time = parsedate_to_datetime(response.headers["Date"]).timestamp()
    difference = server_time - time.time()
    # The header is in whole seconds.
    if not -machine_checks.CLOCK_SECONDS - 1 < difference < machine_checks.CLOCK_SECONDS:
        message = f"the server at {api_url} is {difference:+.0f} s off this machine's clock"
        yield Issue("clock", message, machine_checks.SET_CLOCK)


def versions(paths: ProjectPaths, api_url: str | None) -> Iterator[Issue]:
    """Compare the installed libraries with the tested ones, and Prefect with its server."""
    yield from machine_checks.library_versions(paths)
    if not api_url:
        return
    with get_client(sync_client=True) as client:
        server_version = client.request("GET", "/admin/version").json()
    if server_version != prefect.__version__:
        client_version = prefect.__version__
        message = f"the Prefect server is {server_version}, its clients here are {client_version}"
        remedy = RESTART if service_state.read_state(paths) else INSTALL
        yield Issue("versions", message, remedy)


def settings(paths: ProjectPaths) -> Iterator[Issue]:
    """Find settings in which the processes of the services and of runs differ: they would count,
    or wait, by different rules.
    """
    services = service_state.read_state(paths)
    if services is None:
        return
    of_services = _environments_of_services(services)
    of_runs = _environments_of_runs(services, paths) if of_services else {}
    all_environments = {**of_services, **of_runs}
    of_workers = {}
    for name, environment in all_environments.items():
        if name.startswith(("worker-", "run ")):
            of_workers[name] = environment
    for key in SHARED_SETTINGS:
        yield from _compare_setting(key, all_environments)
    for key in WORKER_SETTINGS:
        yield from _compare_setting(key, of_workers)


def _environments_of_services(services: ServicesState) -> dict[str, dict[str, str]]:
    environments = {}
    for name, process in services.processes.items():
        if process.pid and is_alive(process.pid, process.started):
            environments[name] = psutil.Process(process.pid).environ()
    return environments


def _environments_of_runs(
    services: ServicesState, paths: ProjectPaths
) -> dict[str, dict[str, str]]:
    api_url = services.addresses.prefect_url if services.addresses else None
    environments = {}
    for flow_run_id, processes in processes_by_run().items():
        environment = processes[0].environ()
        # Other projects may have services on this machine too.
        is_own_server = environment.get("PREFECT_API_URL") == api_url
        is_own_home = environment.get("CRECHE_HOME") == str(paths.home)
        if is_own_server or is_own_home:
            environments[f"run {flow_run_id[:8]}"] = environment
    return environments


def _compare_setting(key: str, environments: Mapping[str, Mapping[str, str]]) -> Iterator[Issue]:
    values = {}
    for name, environment in environments.items():
        values[name] = environment.get(key, "not set")
    if len(set(values.values())) > 1:
        listed = ", ".join(f"{name} {value}" for name, value in values.items())
        yield Issue("settings", f"{key} differs: {listed}", RESTART)


def retention(paths: ProjectPaths) -> Iterator[Issue]:
    """Check that the server deletes old runs, as creche.keep_days states."""
    if not (paths.root / CONFIG).is_file():
        return
    keep_days = load_settings(paths).keep_days
    before = DateTime.instance(now("UTC") - timedelta(days=keep_days + GRACE_DAYS))
    old_runs = FlowRunFilter(end_time=FlowRunFilterEndTime(before_=before))
    with get_client(sync_client=True) as client:
        oldest = client.read_flow_runs(
            flow_run_filter=old_runs, sort=FlowRunSort.START_TIME_ASC, limit=1
        )
    database = get_current_settings().home / "prefect.db"
    size = _database_bytes(database)
    if oldest:
        message = (
            f"runs of {oldest[0].end_time:%Y-%m-%d} are still there ({readable_size(size)}); "
            f"creche.keep_days is {keep_days}"
        )
        yield Issue("retention", message, FIX, partial(_delete_runs, old_runs))
    if size > MAX_DATABASE_BYTES:
        script = f'import sqlite3; sqlite3.connect("{database}").execute("VACUUM")'
        remedy = f"creche down && python -c '{script}' && creche up --detach"
        yield Issue("retention", f"{database} has grown to {readable_size(size)}", remedy)


def _delete_runs(runs: FlowRunFilter) -> None:
    body = {"flow_runs": runs.model_dump(mode="json")}
    with get_client(sync_client=True) as client:
        while True:
            response = client.request(
                "POST",
                # Prefect's client does not list this route.
                "/flow_runs/bulk_delete",  # type: ignore[arg-type]
                json=body,
            )
            if not response.json()["deleted"]:
                return


def _database_bytes(path: Path) -> int:
    size = 0
    for file in (path, Path(f"{path}-wal")):
        if file.is_file():
            size += file.stat().st_size
    return size
