"""The reports of `creche status` and `creche doctor` as text."""

from collections.abc import Iterator, Sequence

from creche.errors import shortened
from creche.records import (
    ChampionStatus,
    DoctorReport,
    FlowRunStatus,
    InboxStatus,
    PoolStatus,
    ServerStatus,
    Status,
)

MAX_RUNS = 5  # of each kind; the rest is counted
MESSAGE_LENGTH = 90  # characters of a run's message


def status_lines(report: Status) -> Iterator[str]:
    """Yield the lines of `creche status`."""
    state = "DOWN"
    if report.up:
        state = "UP" if report.healthy else "UNHEALTHY"
    yield f"{state}  {report.home}  (times are UTC)"
    yield ""
    for server in report.servers:
        yield _server_line(server)
    for pool in report.pools:
        yield _pool_line(pool)
    yield from _run_lines("running", report.running)
    yield from _run_lines("queued", report.queued)
    yield from _run_lines("next", report.scheduled, with_state=False)
    yield from _run_lines("finished", report.finished)
    for champion in report.champions:
        yield _champion_line(champion)
    for inbox in report.inboxes:
        yield _inbox_line(inbox)


def _server_line(server: ServerStatus) -> str:
    state = "responds" if server.responds else "DOES NOT RESPOND"
    return f"  server    {server.name:<8} {state}  {server.url}"


def _pool_line(pool: PoolStatus) -> str:
    live = []
    for worker in pool.workers:
        if worker.name in pool.live:
            live.append(f"{worker.name} (heartbeat {worker.seconds_since_heartbeat:.0f} s ago)")
    workers = ", ".join(live)
    if not live:
        workers = "NO LIVE WORKER" if pool.expected else "no worker on this machine"
    paused = ", PAUSED" if pool.paused else ""
    return f"  pool      {pool.name:<8} {workers}{paused}"


def _run_lines(title: str, runs: Sequence[FlowRunStatus], with_state: bool = True) -> Iterator[str]:
    for run in runs[:MAX_RUNS]:
        state = f"  {run.state}  {shortened(run.message, MESSAGE_LENGTH)}" if with_state else ""
        yield f"  {title:<9} {run.time}  {run.name}{state}".rstrip()
    if len(runs) > MAX_RUNS:
        yield f"  {title:<9} … and {len(runs) - MAX_RUNS} more"


def _champion_line(champion: ChampionStatus) -> str:
    version = "no champion yet"
    if champion.version is not None:
        version = f"version {champion.version} is champion"
    verdict = champion.last_verdict or "none"
    run_id = champion.run_id or ""
    line = f"  champion  {champion.recipe:<16} {version}, last verdict {verdict} {run_id}"
    return line.rstrip()


def _inbox_line(inbox: InboxStatus) -> str:
    problem = f"  {inbox.problem}" if inbox.problem else ""
    return (
        f"  inbox     {inbox.recipe:<16} {inbox.waiting} waiting, {inbox.refused} refused{problem}"
    )


def doctor_lines(report: DoctorReport) -> Iterator[str]:
    """Yield the lines of `creche doctor`."""
    for name, outcome in report.checks.items():
        if outcome == "ok":
            yield f"{'ok':<6} {name}"
        elif outcome != "issues":
            yield f"{'–':<6} {name:<10} {outcome}"
    for issue in report.issues:
        mark = "FIXED" if issue.fixed else "ISSUE"
        yield f"{mark:<6} {issue.check:<10} {issue.message}"
        if not issue.fixed:
            yield f"{'':<18}remedy: {issue.remedy}"
