"""`creche up`: the servers and workers of one machine, kept alive, and what is deployed on them."""

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from uuid import UUID

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled
from prefect.types._datetime import DateTime
from prefect.workers.process import ProcessWorker

from creche import registry
from creche.errors import CrecheError, UsageError
from creche.operations import automations, inbox, machine_checks, pools, supervisor
from creche.operations.run_reconciler import BEGUN, kill, processes, reconcile, run_issues
from creche.operations.supervisor import Child, Supervisor
from creche.project import ProjectPaths

CONFIG = "deploy/prefect.yaml"
START_SECONDS = 180  # for a server: its first start makes its tables
SCHEDULING_SECONDS = 20  # that the server may take to make the next runs
INBOX_SECONDS, HEAL_SECONDS = 2.0, 15.0  # between looks
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "8"}  # which the keeper is not
WORKER = {
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
    **PATIENT,
}


def settings(paths: ProjectPaths) -> dict[str, Any]:
    """The part of deploy/prefect.yaml that is for `creche up`.

    Raises:
        UsageError: the file is not there, or a key in that part is wrong.
    """
    path = paths.root / CONFIG
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file; a project that runs unwatched states its deployments there"
        )
    try:
        given = (yaml.safe_load(path.read_text()) or {}).get("creche") or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    known = {"pools": {"cpu": 2, "gpu": 1}, "keep_days": 90, "webhook": ""}
    if unknown := set(given) - set(known):
        raise UsageError(f"{path}: creche.{min(unknown)} is not one of {', '.join(known)}")
    found = {
        **known,
        **given,
        "webhook": os.environ.get("CRECHE_WEBHOOK") or given.get("webhook", ""),
    }
    limits = found["pools"]
    if (
        not isinstance(limits, dict)
        or not limits
        or not all(isinstance(n, int) and n > 0 for n in limits.values())
    ):
        raise UsageError(
            f"{path}: creche.pools gives each pool the number of its runs at once, as {{cpu: 2}}"
        )
    if not isinstance(found["keep_days"], int) or found["keep_days"] < 1:
        raise UsageError(f"{path}: creche.keep_days is a number of days, 1 or more")
    return found


def has_cuda() -> bool:
    """Whether the driver sees a device, asked without torch."""
    with suppress(OSError):
        cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return (
            cuda.cuInit(0) == 0
            and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
            and count.value > 0
        )
    return False


def up(
    paths: ProjectPaths, where: dict[str, Any], gpu: bool, only: list[str] | None = None
) -> None:
    """Keep the house until a signal ends it: SIGTERM or Ctrl-C drains it first, a second one or
    SIGQUIT does not wait.

    Args:
        where: the addresses, from `creche.operations.supervisor.addresses`, which the environment
            already names.
        only: the pools that this machine works for; all, but for gpu without CUDA, if None.

    Raises:
        UsageError: deploy/prefect.yaml is wrong, or does not know a pool.
    """
    told = settings(paths)
    if unknown := set(only or ()) - set(told["pools"]):
        raise UsageError(f"{CONFIG} has no pool {min(unknown)}, only {', '.join(told['pools'])}")
    names = [p for p in told["pools"] if (p in only if only else p != "gpu" or gpu or has_cuda())]
    with supervisor.keeping(paths):
        keeper = Supervisor(
            paths,
            {**where, "pid": os.getpid(), "host": platform.node(), "pools": names, "ready": False},
        )
        asked = _signals()
        try:
            _servers(keeper, where, told)
            with temporary_settings(
                {PREFECT_CLIENT_MAX_RETRIES: 5}
            ):  # a server that has just begun may be busy with itself
                _deploy(keeper, told["pools"])
                automations.register(told["webhook"])
                reconcile(
                    paths, keeper.say
                )  # before a worker takes up what lies about since the last time
            for pool in names:
                keeper.start(_worker(pool))
            _scheduled(keeper)
            keeper.note(ready=True, since=time.time())
            ended = _Ended(keeper)
            _keep(keeper, asked, ended)
            _drain(keeper, names, asked)
            ended.tell()
        finally:
            _close(keeper, names)


def _signals() -> list[str]:
    asked: list[str] = []
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(
            each,
            lambda number, _frame: asked.append(
                "now" if asked or number == signal.SIGQUIT else "drain"
            ),
        )
    return asked


def _servers(keeper: Supervisor, where: dict[str, Any], told: dict[str, Any]) -> None:
    if port := where["prefect_port"]:
        env = {
            **PATIENT,
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_API_URL": where["prefect"],
            # In memory they would be gone with a killed server, and the slots that they stand for
            # taken for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(told["keep_days"] * 86400),
        }
        keeper.start(Child("prefect", [sys.executable, "-m", "prefect", "server", "start"], env))
    if port := where["mlflow_port"]:
        store = registry.store_location(keeper.paths).uri
        artifacts = (keeper.paths.home / "artifacts").as_uri()
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            store,
            "--artifacts-destination",
            artifacts,
        ]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        env = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }  # seven idle processes, 1.7 GB
        keeper.start(Child("mlflow", command, env))
    _wait(keeper, where["prefect"] + "/ready", "prefect")
    if where["mlflow_port"]:
        _wait(keeper, where["mlflow"] + "/health", "mlflow")


def _wait(keeper: Supervisor, url: str, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not responds(url):
        child = keeper.children.get(name)
        if child and child.process and child.process.poll() is not None:
            raise CrecheError(
                f"the {name} server ended while it started: "
                f"{supervisor.folder(keeper.paths) / supervisor.LOG}"
            )
        if time.monotonic() > deadline:
            raise CrecheError(
                f"{url} does not answer after {START_SECONDS} s: see "
                f"{supervisor.folder(keeper.paths) / supervisor.LOG}"
            )
        time.sleep(0.3)
    child, port = keeper.children.get(name), urlsplit(url).port
    if (
        child and child.process and port not in supervisor.listening(child.process.pid)
    ):  # two houses may start at once
        raise CrecheError(
            f"another process has taken port {port} while the {name} server started: creche up "
            "again"
        )


def responds(url: str) -> bool:
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except HTTPError as error:
        return error.code in (401, 403)  # it asks who we are, so it is there
    except OSError:
        return False


def _deploy(keeper: Supervisor, limits: dict[str, int]) -> None:
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["stream_output"]["default"] = (
        False  # else a worker's death takes its runs along
    )
    with get_client(sync_client=True) as client:
        for pool, limit in limits.items():
            new = WorkPoolCreate(
                name=pool, type="process", base_job_template=template, concurrency_limit=limit
            )
            client.create_work_pool(new, overwrite=True)
            client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))
    command = [
        sys.executable,
        "-m",
        "prefect",
        "--no-prompt",
        "deploy",
        "--all",
        "--prefect-file",
        CONFIG,
    ]
    env = {**os.environ, **PATIENT}
    done = subprocess.run(  # noqa: S603
        command,
        cwd=keeper.paths.root,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CrecheError(f"{CONFIG} cannot be applied: {' '.join(said[-3:])}")
    keeper.say("creche", f"{CONFIG} applied")


def _scheduled(keeper: Supervisor) -> None:
    """Wait a moment for the server to make the next runs of the schedules, so that whoever asks
    what is next is told.
    """
    with get_client(sync_client=True) as client:
        wanted = {
            d.id
            for d in client.read_deployments()
            if not d.paused and any(s.active for s in d.schedules)
        }
        for _ in range(SCHEDULING_SECONDS):
            waiting = FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
            )
            if wanted <= {
                r.deployment_id for r in client.read_flow_runs(flow_run_filter=waiting, limit=200)
            }:
                return
            keeper.tend()
            time.sleep(1)


def _worker(pool: str) -> Child:
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        pool,
        "--type",
        "process",
    ]
    command += ["--install-policy", "never", "--name", f"{platform.node()}-{pool}"]
    # A worker that is asked to end kills its runs; one that is killed leaves them to go on.
    return Child(f"worker-{pool}", command, WORKER, signal.SIGKILL)


def _keep(keeper: Supervisor, asked: list[str], ended: "_Ended") -> None:
    every: dict[Callable[[], None], float] = {
        lambda: inbox.look(keeper.paths, keeper.say): INBOX_SECONDS,
        lambda: reconcile(keeper.paths, keeper.say): HEAL_SECONDS,
        ended.tell: INBOX_SECONDS,
    }
    due = dict.fromkeys(every, 0.0)
    silent: set[str] = set()
    while not asked:
        keeper.tend()
        for work, seconds in every.items():
            if time.monotonic() < due[work]:
                continue
            try:
                work()
                silent.clear()
            except (
                Exception
            ) as error:  # a server that is away comes back; whoever keeps it must not go
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                if said not in silent:
                    keeper.say("creche", said)
                silent.add(said)
            due[work] = time.monotonic() + seconds
        time.sleep(0.5)


@dataclass
class _Ended:
    """Tells how runs ended, each once."""

    keeper: Supervisor
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    told: set[UUID] = field(default_factory=set)

    def tell(self) -> None:
        after = FlowRunFilterEndTime(
            after_=DateTime.instance(self.since - timedelta(minutes=2))
        )  # a state may come late
        with get_client(sync_client=True) as client:
            ended = client.read_flow_runs(flow_run_filter=FlowRunFilter(end_time=after), limit=200)
        for run in ended:
            if run.id not in self.told and run.state:
                self.keeper.say("runs", f"{run.name}  {run.state.name}  {run.state.message or ''}")
        self.told = {run.id for run in ended}
        self.since = datetime.now(UTC)


def busy(pool: str) -> list[FlowRun]:
    """The runs of a pool that have begun and not ended."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(BEGUN)))
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )


def _drain(keeper: Supervisor, names: list[str], asked: list[str]) -> None:
    """Let what runs end, and nothing new begin; pool after pool, since runs of the first send
    trainings to the others.
    """
    keeper.note(ready=False, ending=asked[0])
    for pool in names if asked == ["drain"] else ():
        with get_client(sync_client=True) as client:
            client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
        told = ""
        while "now" not in asked and (runs := busy(pool)):
            said = f"waiting for {len(runs)} runs of pool {pool}: {', '.join(r.name for r in runs)}"
            if said != told:
                keeper.say("creche", told := said)
            keeper.tend()
            reconcile(
                keeper.paths, keeper.say
            )  # a run without a process would be waited for for ever
            time.sleep(1)
    if "now" in asked:
        _cut(keeper, names)


def _cut(keeper: Supervisor, names: list[str]) -> None:
    """Kill what runs, and say so in its state."""
    for pool in names:
        keeper.stop(f"worker-{pool}", signal.SIGKILL)
        for run in busy(pool):
            kill(processes().get(str(run.id), ()))
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(
                    run.id, Cancelled(message="stopped by creche down --now"), force=True
                )
            keeper.say("creche", f"{run.name}: stopped")
    for issue in (*run_issues(), *machine_checks.unfinished_runs(keeper.paths, pools.ended)):
        if issue.fix:
            issue.fix()


def _close(keeper: Supervisor, names: list[str]) -> None:
    for pool in names:
        keeper.stop(f"worker-{pool}", signal.SIGKILL)  # it has no runs any more
    if keeper.state.get("ending"):
        with suppress(Exception), get_client(sync_client=True) as client:
            for pool in names:
                client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))
    for name in ("mlflow", "prefect"):
        keeper.stop(name)
    keeper.say("creche", "down")
