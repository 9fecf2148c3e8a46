"""`creche status`: the house in one look."""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.types._datetime import now

from creche import registry
from creche.operations import pools, services, supervisor
from creche.project import ProjectPaths

SHOWN = 5


def status(paths: ProjectPaths) -> dict[str, Any]:
    """Servers, pools, what runs, waits and comes next, the last runs, and who reigns; `well` tells
    whether all is up.
    """
    record = supervisor.record(paths) or {}
    found: dict[str, Any] = {
        "home": str(paths.home),
        "up": bool(record),
        "ready": record.get("ready", False),
    }
    found["servers"] = [
        {"name": name, "url": record[url], "alive": services.responds(record[check] + path)}
        for name, url, check, path in (
            ("prefect", "ui", "prefect", "/ready"),
            ("mlflow", "mlflow", "mlflow", "/health"),
        )
        if record.get(url)
    ]
    found["champions"] = champions(paths)
    if not any(s["name"] == "prefect" and s["alive"] for s in found["servers"]):
        return {
            **found,
            "pools": [],
            "running": [],
            "queue": [],
            "next": [],
            "last": [],
            "healthy": False,
        }
    with get_client(sync_client=True) as client:
        known = [(p, pools.workers(p.name)) for p in client.read_work_pools()]
    expected = record.get("pools", [])
    found["pools"] = [
        {
            "name": p.name,
            "paused": p.is_paused,
            "expected": p.name in expected,
            "workers": workers[:SHOWN],
            "live": pools.among(workers),
        }
        for p, workers in known
    ]
    running = _runs(
        [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED],
        FlowRunSort.START_TIME_ASC,
    )
    found["running"] = [_told(r) for r in running]
    scheduled = _runs([StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC, 200)
    due = [
        r
        for r in scheduled
        if r.expected_start_time and r.expected_start_time <= now("UTC") + timedelta(seconds=1)
    ]
    found["queue"] = [_told(r) for r in due]
    first: dict[Any, FlowRun] = {}
    for run in (r for r in scheduled if r not in due):
        first.setdefault(run.deployment_id, run)
    deployed = _deployed()
    found["next"] = [
        {**_told(r), "name": deployed.get(r.deployment_id, r.name)} for r in first.values()
    ]
    ended = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
    found["last"] = [_told(r) for r in _runs(ended, FlowRunSort.END_TIME_DESC, SHOWN)]
    alive = all(p["live"] for p in found["pools"] if p["expected"])
    return {
        **found,
        "healthy": found["ready"] and alive and all(s["alive"] for s in found["servers"]),
    }


def champions(paths: ProjectPaths) -> list[dict[str, Any]]:
    """Who reigns over each recipe, with the last verdict."""
    if not registry.store_exists(paths):
        return []
    found = []
    for path in sorted((paths.root / "recipes").glob("*.yaml")):
        version = registry.champion_version(path.stem, paths)
        last = registry.last_verdict(path.stem, paths)
        if version or last:
            found.append(
                {
                    "recipe": path.stem,
                    "version": version,
                    "last_verdict": last.verdict if last else None,
                    "run": last.run if last else None,
                }
            )
    return found


def _deployed() -> dict[Any, str]:
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=["creche"]))
    with get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=wanted)
        flows = {d.flow_id: client.read_flow(d.flow_id).name for d in found}
    return {d.id: f"{flows[d.flow_id]}/{d.name}" for d in found}


def _runs(types: list[StateType], sort: FlowRunSort, limit: int = 50) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=limit)


def _told(run: FlowRun) -> dict[str, Any]:
    state = run.state
    return {
        "id": str(run.id),
        "name": run.name,
        "state": state.name if state else None,
        "message": (state.message or "") if state else "",
        "time": str(run.end_time or run.start_time or run.expected_start_time)[:19],
        "pool": run.work_pool_name,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for a person."""
    told = [
        f"{'UP' if found['healthy'] else 'UNHEALTHY' if found['up'] else 'DOWN'}  {found['home']}  "
        "(times are UTC)",
        "",
    ]
    for s in found["servers"]:
        told.append(
            f"  server    {s['name']:<8} {'answers' if s['alive'] else 'DOES NOT ANSWER'}  "
            f"{s['url']}"
        )
    for p in found["pools"]:
        alive = ", ".join(
            f"{w['name']} (heard of {w['seconds']:.0f} s ago)"
            for w in p["workers"]
            if w["name"] in p["live"]
        )
        missing = "NO LIVE WORKER" if p["expected"] else "no worker here"
        told.append(
            f"  pool      {p['name']:<8} {alive or missing}{', PAUSED' if p['paused'] else ''}"
        )
    for key, title in (
        ("running", "runs"),
        ("queue", "waits"),
        ("next", "next"),
        ("last", "ended"),
    ):
        for r in found[key][:SHOWN]:
            ended = "" if key == "next" else f"  {r['state']}  {r['message'][:90]}"
            told.append(f"  {title:<9} {r['time']}  {r['name']}{ended}".rstrip())
        if len(found[key]) > SHOWN:
            told.append(f"  {title:<9} … and {len(found[key]) - SHOWN} more")
    for c in found["champions"]:
        reigns = f"version {c['version']}" if c["version"] else "nobody"
        told.append(
            f"  champion  {c['recipe']:<16} {reigns}, last verdict {c['last_verdict'] or 'none'} "
            f"{c['run'] or ''}"
        )
    return told
