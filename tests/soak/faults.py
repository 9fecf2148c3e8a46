"""The faults of the kill table: what is done to a run at which moment, and how it may end."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from rig import SUPERVISOR, Rig, penguins
from support.postgresql import Postgresql

END_SECONDS = 180  # within which a run that was hit is in a final state
CANCEL_SECONDS = 30  # within which a canceled run is
AWAY_SECONDS = {"prefect": 100, "postgresql": 30, "mlflow": 30}
RUN_PROCESS = "run"

Action = Callable[[Rig, str], None]


def do_nothing(rig: Rig, run_id: str) -> None:
    """Prepare nothing."""


@dataclass
class Row:
    """One fault at one moment of a run.

    Attributes:
        expected: names of the states in which the run may end.
        by_server: the run uses the MLflow server, not the SQLite file.
        prepare: called before the run is started.
        parameters: of the flow.
        seconds: within which a run that does not complete must be in a final state.
        is_outage: a server is away, and the run waits for it.
    """

    fault: str
    moment: str
    action: Action
    expected: tuple[str, ...]
    by_server: bool = False
    prepare: Action = do_nothing
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = END_SECONDS
    is_outage: bool = False

    def __str__(self) -> str:
        return f"{self.fault}, {self.moment}"


def kill(*names: str) -> Action:
    """Kill processes: RUN_PROCESS, or the names of managed ones."""

    def action(rig: Rig, run_id: str) -> None:
        for name in names:
            if name != RUN_PROCESS:
                rig.kill(name)
                continue
            for process in rig.processes_of_runs(run_id):
                with suppress(psutil.Error):
                    process.kill()

    return action


def kill_supervisor(rig: Rig, _run_id: str) -> None:
    rig.kill(SUPERVISOR)
    rig.up()


def kill_everything(rig: Rig, run_id: str) -> None:
    kill(SUPERVISOR, "prefect", "worker-cpu", RUN_PROCESS)(rig, run_id)
    time.sleep(5)
    rig.up()


def cancel(rig: Rig, run_id: str) -> None:
    rig.set_run_state(run_id, type="CANCELLING")


def pause(name: str) -> Action:
    """Stop a server for as long as it may be away."""

    def action(rig: Rig, _run_id: str) -> None:
        group = rig.pid(name)
        os.killpg(group, signal.SIGSTOP)
        time.sleep(AWAY_SECONDS[name])
        os.killpg(group, signal.SIGCONT)

    return action


def remove_remote(rig: Rig, _run_id: str) -> None:
    rig.put_data(penguins(random.Random(time.time_ns())))
    (rig.root / "dvc-remote").rename(rig.root / "away")


def restore_remote_after(seconds: float) -> Action:
    def action(rig: Rig, _run_id: str) -> None:
        time.sleep(seconds)
        (rig.root / "away").rename(rig.root / "dvc-remote")

    return action


def stop_postgresql(database: Postgresql, seconds: float) -> Action:
    def action(_rig: Rig, _run_id: str) -> None:
        database.kill()
        time.sleep(seconds)
        database.start()

    return action


PROMOTED = ("Promoted", "Inconclusive")
CRASHED = ("Crashed",)
CANCELLED = ("Cancelled",)
KILLS = [
    Row("run's process", "validating", kill(RUN_PROCESS), CRASHED),
    Row("run's process", "training", kill(RUN_PROCESS), CRASHED),
    Row("run's process", "promoting", kill(RUN_PROCESS), CRASHED),
    Row("worker", "pending", kill("worker-cpu"), PROMOTED),
    Row("worker", "training", kill("worker-cpu"), PROMOTED),
    Row("worker and run's process", "training", kill("worker-cpu", RUN_PROCESS), CRASHED),
    Row("Prefect server", "pending", kill("prefect"), PROMOTED),
    Row("Prefect server", "training", kill("prefect"), PROMOTED),
    Row("Prefect server", "promoting", kill("prefect"), PROMOTED),
    Row("MLflow server", "training", kill("mlflow"), PROMOTED, by_server=True),
    Row("MLflow server", "promoting", kill("mlflow"), PROMOTED, by_server=True),
    Row("supervisor", "training", kill_supervisor, PROMOTED),
    Row("everything", "training", kill_everything, CRASHED),
]
CANCELS = [
    Row("canceled", "training", cancel, CANCELLED, seconds=CANCEL_SECONDS),
    Row(
        "canceled, trains in another pool",
        "training",
        cancel,
        CANCELLED,
        parameters={"pool": "other"},
        seconds=CANCEL_SECONDS,
    ),
]


def outage(fault: str, moment: str, action: Action, **options: Any) -> Row:
    expected = options.pop("expected", PROMOTED)
    return Row(fault, moment, action, expected, is_outage=True, **options)


OUTAGES = [
    outage("Prefect server away 100 s", "training", pause("prefect")),
    outage("MLflow server away 30 s", "training", pause("mlflow"), by_server=True),
    outage("MLflow server away 30 s", "promoting", pause("mlflow"), by_server=True),
    outage("DVC remote away 20 s", "pulling", restore_remote_after(20), prepare=remove_remote),
    outage(
        "DVC remote away 120 s",
        "pulling",
        restore_remote_after(120),
        prepare=remove_remote,
        expected=("Failed",),
    ),
]


def kills_of_postgresql(database: Postgresql) -> list[Row]:
    action = stop_postgresql(database, 1)
    return [Row("PostgreSQL", moment, action, PROMOTED) for moment in ("training", "promoting")]


def outages_of_postgresql(database: Postgresql) -> list[Row]:
    action = stop_postgresql(database, AWAY_SECONDS["postgresql"])
    return [outage("PostgreSQL away 30 s", "training", action)]
