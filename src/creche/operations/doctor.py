"""`creche doctor`: every check there is, each issue with the command that cures it."""

import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import prefect
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import get_current_settings
from prefect.types._datetime import DateTime, now

from creche.operations import machine_checks, pools, run_reconciler, services, supervisor
from creche.operations.machine_checks import INSTALL, Issue, readable
from creche.project import ProjectPaths

LATE_SECONDS = 60  # that a due run may wait before its pool is looked at
GRACE_DAYS = 3  # beyond creche.keep_days: the server clears up now and then
LARGE_BYTES = 5e9  # of Prefect's database
AFRESH = "creche down && creche up --detach"
SAME = (
    "PREFECT_API_URL",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY",
    "MLFLOW_TRACKING_URI",
    "CRECHE_HOME",
    "CRECHE_ROOT",
    "TZ",
)
OF_WORKERS = (
    "PREFECT_CLIENT_MAX_RETRIES",
)  # which the keeper, and so the servers, have another way

Check = Callable[[ProjectPaths], Iterator[Issue]]


def find_issues(paths: ProjectPaths) -> dict[str, list[Issue] | None]:
    """What each check finds; None: it could not look, for no server is up."""
    url = get_current_settings().api.url
    expected = url or supervisor.record(paths)
    found: dict[str, list[Issue] | None] = {
        "server": _look("server", lambda p: _server(url, p), paths) if expected else None
    }
    served = url if not found["server"] else None
    if served:
        for look in (run_reconciler.run_issues, lambda: run_reconciler.slot_issues(0)):
            list(look())  # first sightings: what is about to begin or to end is gone at the second
    since = time.time()
    local: dict[str, Check] = {
        "locks": machine_checks.locks,
        "leftovers": machine_checks.leftovers,
        "data": machine_checks.data,
        "champions": machine_checks.champions,
        "mlflow": lambda p: machine_checks.unfinished_runs(
            p, pools.ended if served else lambda _: None
        ),
        "disk": machine_checks.disk,
        "clock": lambda p: _clock(served, p),
        "versions": lambda p: _versions(bool(served), p),
        "settings": _settings,
    }
    found |= {name: _look(name, check, paths) for name, check in local.items()}
    if served and (wait := run_reconciler.second_look()):
        time.sleep(max(0.0, since + wait - time.time()))
    remote: dict[str, Check] = {
        "runs": lambda _: run_reconciler.run_issues(),
        "slots": lambda _: run_reconciler.slot_issues(run_reconciler.AGAIN_SECONDS - 0.5),
        "pools": _pools,
        "retention": _retention,
    }
    return found | {
        name: _look(name, check, paths) if served else None for name, check in remote.items()
    }


def _look(name: str, check: Check, paths: ProjectPaths) -> list[Issue]:
    try:
        return list(check(paths))
    except Exception as error:  # one that cannot look must not keep the others from it
        return [
            Issue(
                name, f"cannot be looked at: {' '.join(str(error).split())[:300]}", "creche status"
            )
        ]


def _server(url: str | None, paths: ProjectPaths) -> Iterator[Issue]:
    """Servers that are up by all that is known, and do not answer."""
    record = supervisor.record(paths) or {}
    again = (
        "creche down --now && creche up --detach"
        if record
        else "unset PREFECT_API_URL; creche up --detach"
    )
    if url and not services.responds(f"{url}/ready"):
        yield Issue("server", f"Prefect at {url} does not answer", again)
    if "mlflow" in record and not services.responds(f"{record['mlflow']}/health"):
        yield Issue("server", f"MLflow at {record['mlflow']} does not answer", again)


def _pools(paths: ProjectPaths) -> Iterator[Issue]:
    """Pools where runs wait for nobody."""
    record = supervisor.record(paths) or {}
    if record.get("ending"):
        return  # paused, to drain
    with get_client(sync_client=True) as client:
        known = client.read_work_pools()
    late = now("UTC") - timedelta(seconds=LATE_SECONDS)
    due = Counter(
        r.work_pool_name
        for r in run_reconciler.due_runs()
        if r.expected_start_time and r.expected_start_time < late
    )
    for pool in known:
        waiting = f"{due[pool.name]} runs wait in it" if due[pool.name] else "no run is late"
        if pool.is_paused:
            url = get_current_settings().api.url
            said = f"pool {pool.name} is paused; {waiting}"
            yield Issue(
                "pools", said, f"PREFECT_API_URL={url} prefect work-pool resume {pool.name}"
            )
        if (due[pool.name] or pool.name in record.get("pools", [])) and not pools.live(pool.name):
            gpu = " --gpu" if pool.name == "gpu" else ""
            yield Issue(
                "pools",
                f"pool {pool.name} has no live worker; {waiting}",
                f"{'creche down && ' if record else ''}creche up --detach{gpu}",
            )


def _clock(url: str | None, paths: ProjectPaths) -> Iterator[Issue]:
    """The clocks that times on record come from."""
    yield from machine_checks.disk_clock(paths)
    if url:
        try:
            answer = urllib.request.urlopen(f"{url}/ready", timeout=5)  # noqa: S310
        except HTTPError as error:  # it asks who we are, and what time it is it tells all the same
            answer = error
        with answer:
            apart = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
        if (
            not -machine_checks.CLOCK_SECONDS - 1 < apart < machine_checks.CLOCK_SECONDS
        ):  # it names whole seconds
            said = f"the server at {url} is {apart:+.0f} s off this machine's clock"
            yield Issue("clock", said, "sudo timedatectl set-ntp true")


def _versions(served: bool, paths: ProjectPaths) -> Iterator[Issue]:
    yield from machine_checks.versions(paths)
    if served:
        with get_client(sync_client=True) as client:
            there = client.request("GET", "/admin/version").json()
        if there != prefect.__version__:
            said = f"the Prefect server is {there}, its clients here {prefect.__version__}"
            yield Issue("versions", said, AFRESH if supervisor.record(paths) else INSTALL)


def _settings(paths: ProjectPaths) -> Iterator[Issue]:
    """Settings that the house's processes and runs should have alike: apart, they count, or wait,
    by different rules.
    """
    record = supervisor.record(paths) or {}
    seen: dict[str, dict[str, str]] = {}
    for name, child in record.get("children", {}).items():
        if child["pid"] and supervisor.alive(child["pid"], child["started"]):
            seen[name] = psutil.Process(child["pid"]).environ()
    for run, (process, *_) in run_reconciler.processes().items() if seen else ():
        env = process.environ()  # of this house, or of another one on this machine
        if env.get("PREFECT_API_URL") == record.get("prefect") or env.get("CRECHE_HOME") == str(
            paths.home
        ):
            seen[f"run {run[:8]}"] = env
    workers = {name: env for name, env in seen.items() if name.startswith(("worker-", "run "))}
    for key in (*SAME, *OF_WORKERS):
        told = {
            name: env.get(key, "not set")
            for name, env in (workers if key in OF_WORKERS else seen).items()
        }
        if len(set(told.values())) > 1:
            yield Issue(
                "settings",
                f"{key} differs: {', '.join(f'{n} {v}' for n, v in told.items())}",
                AFRESH,
            )


def _retention(paths: ProjectPaths) -> Iterator[Issue]:
    """Whether the server lets old runs go, as deploy/prefect.yaml says."""
    if not (paths.root / services.CONFIG).is_file():
        return
    days = services.settings(paths)["keep_days"]
    before = DateTime.instance(now("UTC") - timedelta(days=days + GRACE_DAYS))
    ended = FlowRunFilter(end_time=FlowRunFilterEndTime(before_=before))
    with get_client(sync_client=True) as client:
        old = client.read_flow_runs(flow_run_filter=ended, sort=FlowRunSort.START_TIME_ASC, limit=1)
    size = _database_bytes(path := get_current_settings().home / "prefect.db")
    if old:
        said = f"runs of {old[0].end_time:%Y-%m-%d} are still there ({readable(size)}); creche.keep_days is {days}"
        yield Issue("retention", said, machine_checks.FIX, partial(_delete, ended))
    if size > LARGE_BYTES:
        vacuum = f"""python -c 'import sqlite3; sqlite3.connect("{path}").execute("VACUUM")'"""
        yield Issue(
            "retention",
            f"{path} has grown to {readable(size)}",
            f"creche down && {vacuum} && creche up --detach",
        )


def _delete(runs: FlowRunFilter) -> None:
    with get_client(sync_client=True) as client:
        asked = {"flow_runs": runs.model_dump(mode="json")}
        while client.request("POST", "/flow_runs/bulk_delete", json=asked).json()["deleted"]:  # type: ignore[arg-type]
            pass


def _database_bytes(path: Path) -> int:
    return sum(f.stat().st_size for f in (path, Path(f"{path}-wal")) if f.is_file())


def as_report(found: dict[str, list[Issue] | None], fixed: set[Issue]) -> dict[str, Any]:
    """The same for scripts."""
    checks = {
        name: "not looked at: no server is up" if f is None else "issues" if f else "ok"
        for name, f in found.items()
    }
    issues = [f for each in found.values() for f in each or ()]
    return {
        "healthy": all(f in fixed for f in issues),
        "checks": checks,
        "issues": [
            {
                "check": f.check,
                "message": f.message,
                "remedy": f.remedy,
                "harmless": bool(f.fix),
                "fixed": f in fixed,
            }
            for f in issues
        ],
    }


def lines(said: dict[str, Any]) -> Iterator[str]:
    """The same for a person."""
    for name, how in said["checks"].items():
        if how != "issues":
            yield f"{'ok' if how == 'ok' else '–':<6} {name:<10} {'' if how == 'ok' else how}".rstrip()
    for issue in said["issues"]:
        yield f"{'FIXED' if issue['fixed'] else 'ISSUE':<6} {issue['check']:<10} {issue['message']}"
        if not issue["fixed"]:
            yield f"{'':<18}remedy: {issue['remedy']}"
