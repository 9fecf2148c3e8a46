"""Records of the services: the state file of `creche up`, and what `creche status` and
`creche doctor` report.
"""

from typing import Literal

from pydantic import Field

from creche.records.base import Record

# How `creche up` ends: after the runs in progress, or at once.
ShutdownMode = Literal["drain", "now"]


class ManagedProcessState(Record):
    """A process that `creche up` keeps running."""

    pid: int | None
    started: float  # s since the epoch
    command: list[str]
    restarts: int  # since it last ran for more than 90 s


class ServiceAddresses(Record):
    """Where the servers respond. A port of None: that server runs elsewhere."""

    prefect_port: int | None
    mlflow_port: int | None
    prefect_url: str  # of the API
    ui_url: str
    mlflow_url: str


class ServicesState(Record):
    """What `creche up` runs on this machine (`CRECHE_HOME/up/state.json`)."""

    format: Literal[1] = 1
    pid: int | None = None  # of the supervisor; None: it has written nothing yet
    host: str = ""
    addresses: ServiceAddresses | None = None
    pools: list[str] = Field(default_factory=list)  # that have a worker on this machine
    ready: bool = False
    shutdown: ShutdownMode | None = None
    paused_pools: list[str] = Field(default_factory=list)  # by the drain, not by an operator
    processes: dict[str, ManagedProcessState] = Field(default_factory=dict)


class ServerStatus(Record):
    """A server that this machine uses."""

    name: str
    url: str
    responds: bool


class WorkerStatus(Record):
    """A worker that the Prefect server knows in a pool."""

    name: str
    seconds_since_heartbeat: float


class PoolStatus(Record):
    """A work pool and its workers."""

    name: str
    paused: bool
    expected: bool  # this machine should have a worker for it
    workers: list[WorkerStatus]  # the latest heartbeat first, 5 at most
    live: list[str]


class FlowRunStatus(Record):
    """A flow run in one line."""

    id: str
    name: str
    state: str | None
    message: str
    time: str  # UTC: of its end, else of its start, else of its expected start
    pool: str | None


class ChampionStatus(Record):
    """The champion of a recipe, and the last verdict."""

    recipe: str
    version: str | None  # None: no champion yet
    last_verdict: str | None
    run_id: str | None  # of the last verdict


class InboxStatus(Record):
    """The inbox of a recipe."""

    recipe: str
    waiting: int  # items in it
    refused: int  # items in its refused/
    problem: str  # of an item that cannot be scored, else of the last refused one; or empty


class Status(Record):
    """Servers, pools, runs and champions in one report (`creche status --json`)."""

    format: Literal[2] = 2
    home: str
    up: bool
    ready: bool
    healthy: bool
    servers: list[ServerStatus]
    pools: list[PoolStatus] = Field(default_factory=list)
    running: list[FlowRunStatus] = Field(default_factory=list)
    queued: list[FlowRunStatus] = Field(default_factory=list)
    scheduled: list[FlowRunStatus] = Field(default_factory=list)  # the next of each deployment
    finished: list[FlowRunStatus] = Field(default_factory=list)  # the latest first
    champions: list[ChampionStatus]
    inboxes: list[InboxStatus] = Field(default_factory=list)


class IssueReport(Record):
    """One issue, with the command that remedies it."""

    check: str
    message: str
    remedy: str
    auto_fixable: bool  # `creche doctor --fix` applies the remedy
    fixed: bool


class DoctorReport(Record):
    """What each check of `creche doctor` came to (`creche doctor --json`)."""

    format: Literal[2] = 2
    healthy: bool
    checks: dict[str, str]  # check → ok, issues, or why it was skipped
    issues: list[IssueReport]
