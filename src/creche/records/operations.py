"""Records of the services: what `creche status` and `creche doctor` report."""

from creche.records.base import Record


class ServerStatus(Record):
    name: str
    url: str
    responds: bool


class WorkerStatus(Record):
    name: str
    seconds_since_heartbeat: float


class PoolStatus(Record):
    name: str
    paused: bool
    expected: bool  # this machine should have a worker for it
    workers: list[WorkerStatus]
    live: list[str]


class FlowRunStatus(Record):
    id: str
    name: str
    state: str | None
    message: str
    time: str  # UTC
    pool: str | None


class ChampionStatus(Record):
    recipe: str
    version: str | None
    last_verdict: str | None
    run: str | None


class Status(Record):
    """Servers, pools, runs and champions in one look."""

    home: str
    up: bool
    ready: bool
    healthy: bool
    servers: list[ServerStatus]
    pools: list[PoolStatus]
    running: list[FlowRunStatus]
    queued: list[FlowRunStatus]
    scheduled: list[FlowRunStatus]
    finished: list[FlowRunStatus]
    champions: list[ChampionStatus]


class IssueReport(Record):
    """One issue, with the command that remedies it."""

    check: str
    message: str
    remedy: str
    harmless: bool  # `creche doctor --fix` may do it
    fixed: bool


class DoctorReport(Record):
    healthy: bool
    checks: dict[str, str]  # check → ok, issues, or why it could not look
    issues: list[IssueReport]
