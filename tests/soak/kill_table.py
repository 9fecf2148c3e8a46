"""What a run comes to when a process of the house is killed, when it is cancelled, and when a
server is away.

`make soak` runs it; `python tests/soak/kill_table.py WORD …` only the rows that hold one of the
words. Each row is a run of the penguins that is hit at a moment, and the run after it, which must
end as if nothing had been.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rig import FINAL, Rig, penguins, random, recipe, show, until
from support import postgresql
from support.postgresql import Postgresql

from creche import registry
from creche.project import RUN, ProjectPaths, read_json
from creche.registry import promotion_log

DEMAND_SECONDS, CANCEL_SECONDS = 180, 30
AWAY_SECONDS = {"prefect": 100, "postgresql": 30, "mlflow": 30}
EPOCHS = 120  # a quarter of a minute, on a machine with two busy cores
SLOW = {"penguins": recipe("penguins", training={"epochs": EPOCHS})}

Hit = Callable[[Rig, str], None]


@dataclass
class Row:
    what: str
    moment: str
    hit: Hit
    expected: tuple[str, ...]  # names of the states that are true ends
    through_server: bool = False  # MLflow's, instead of the store's file
    before: Hit = lambda rig, run: None
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = DEMAND_SECONDS

    def __str__(self) -> str:
        return f"{self.what}, {self.moment}"


def kill(*who: str) -> Hit:
    def hit(rig: Rig, run: str) -> None:
        for each in who:
            if each == "child":
                for process in rig.of_run(run):
                    with suppress(psutil.Error):
                        process.kill()
            else:
                rig.kill(each)

    return hit


def kill_keeper(rig: Rig, _run: str) -> None:
    rig.kill("keeper")
    rig.up()


def cancel(rig: Rig, run: str) -> None:
    rig.set_state(run, type="CANCELLING")


def stop(who: str) -> Hit:
    """Stop a server for as long as it may be away."""

    def hit(rig: Rig, _run: str) -> None:
        group = rig.pid(who)
        os.killpg(group, signal.SIGSTOP)
        time.sleep(AWAY_SECONDS[who])
        os.killpg(group, signal.SIGCONT)

    return hit


def take_remote(rig: Rig, _run: str) -> None:
    rig.put_data(penguins(random.Random(time.time_ns())))
    (rig.root / "dvc-remote").rename(rig.root / "away")


def give_remote(seconds: float) -> Hit:
    def hit(rig: Rig, _run: str) -> None:
        time.sleep(seconds)
        (rig.root / "away").rename(rig.root / "dvc-remote")

    return hit


def stop_postgresql(database: Postgresql, seconds: float) -> Hit:
    def hit(_rig: Rig, _run: str) -> None:
        database.kill()
        time.sleep(seconds)
        database.start()

    return hit


PROMOTED = ("Promoted", "Inconclusive")
KILLS = [
    Row("run's process", "validating", kill("child"), ("Crashed",)),
    Row("run's process", "training", kill("child"), ("Crashed",)),
    Row("run's process", "promoting", kill("child"), ("Crashed",)),
    Row("worker", "pending", kill("worker-cpu"), PROMOTED),
    Row("worker", "training", kill("worker-cpu"), PROMOTED),
    Row("worker and run's process", "training", kill("worker-cpu", "child"), ("Crashed",)),
    Row("Prefect server", "pending", kill("prefect"), PROMOTED),
    Row("Prefect server", "training", kill("prefect"), PROMOTED),
    Row("Prefect server", "promoting", kill("prefect"), PROMOTED),
    Row("MLflow server", "training", kill("mlflow"), PROMOTED, through_server=True),
    Row("MLflow server", "promoting", kill("mlflow"), PROMOTED, through_server=True),
    Row("keeper", "training", kill_keeper, PROMOTED),
    Row("everything", "training", kill("keeper", "prefect", "worker-cpu", "child"), ("Crashed",)),
]
CANCELS = [
    Row("cancelled", "training", cancel, ("Cancelled",), seconds=CANCEL_SECONDS),
    Row("cancelled, trains in another pool", "training", cancel, ("Cancelled",), parameters={"pool": "other"}, seconds=CANCEL_SECONDS),
]  # fmt: skip
OUTAGES = [
    Row("Prefect server away 100 s", "training", stop("prefect"), PROMOTED),
    Row("MLflow server away 30 s", "training", stop("mlflow"), PROMOTED, through_server=True),
    Row("MLflow server away 30 s", "promoting", stop("mlflow"), PROMOTED, through_server=True),
    Row("DVC remote away 20 s", "pulling", give_remote(20), PROMOTED, before=take_remote),
    Row("DVC remote away 120 s", "pulling", give_remote(120), ("Failed",), before=take_remote),
]


def on_postgresql(database: Postgresql) -> tuple[list[Row], list[Row]]:
    kills = [
        Row("PostgreSQL", moment, stop_postgresql(database, 1), PROMOTED)
        for moment in ("training", "promoting")
    ]
    return kills, [
        Row(
            "PostgreSQL away 30 s",
            "training",
            stop_postgresql(database, AWAY_SECONDS["postgresql"]),
            PROMOTED,
        )
    ]


def tell(rig: Rig, row: Row) -> list[Any]:
    """What the row came to, as the table's cells; the last one says what broke the demand."""
    shutil.rmtree(
        rig.home / "checkpoints", ignore_errors=True
    )  # else the training would be taken up where the last was hit
    folder = f"{row.what}-{row.moment}".replace(" ", "-")
    env = {"MLFLOW_TRACKING_URI": rig.record()["mlflow"]} if row.through_server else None
    row.before(rig, "")
    run = rig.start(
        "retrain/penguins",
        None,
        env,
        recipe="penguins",
        run=folder,
        force=True,
        trigger="test",
        **row.parameters,
    )
    trains = f"{folder}-train" if "pool" in row.parameters else folder
    seen = row.moment == "pulling" or rig.when(run, trains, row.moment)
    hit_at = time.time()
    row.hit(rig, run)
    if row.what == "everything":
        time.sleep(5)
        rig.up()
    state = rig.wait(run, 400)
    seconds = time.time() - hit_at
    gone = until(lambda: not rig.of_runs(), CANCEL_SECONDS if row.hit is cancel else 60)
    free = until(lambda: not rig.slots(), 20)
    after = rig.wait(rig.start("retrain/penguins", recipe="penguins", trigger="schedule"), 400)
    others = [r["state"]["name"] for r in rig.runs() if r["state"]["type"] not in FINAL]
    record = rig.home / "runs" / folder / RUN
    written = read_json(record)["state"] if record.is_file() else "none"
    broken = [
        *([] if seen else ["not seen at that moment"]),
        *([] if state["name"] in row.expected else [f"not {' or '.join(row.expected)}"]),
        *(
            [f"{seconds:.0f} s"]
            if seconds > row.seconds and state["type"] != "COMPLETED" and "away" not in row.what
            else []
        ),
        *([] if gone else ["a process is left"]),
        *([] if free else [f"slots taken: {rig.slots()}"]),
        *(
            []
            if after["type"] == "COMPLETED"
            else [f"next run: {after['name']}: {after['message']}"]
        ),
        *([f"other runs: {others}"] if others else []),
        *(
            []
            if written in (state["name"], "none", "Interrupted")
            else [f"run.json says {written}"]
        ),
        *whole(rig),
    ]
    if broken:
        print(f"  {row}: {state}", flush=True)
    return [
        row.what, row.moment, state["name"], f"{seconds:.0f}", "yes" if free else "NO", "none" if gone else "LEFT", written,
        after["name"], "; ".join(broken) or "-",
    ]  # fmt: skip


def whole(rig: Rig) -> list[str]:
    """What is wrong with the registry."""
    paths = ProjectPaths(rig.root, rig.home)
    promotion_log.reconcile("penguins", paths)
    log = [e for e in promotion_log.entries("penguins", paths) if not e.superseded]
    reigns = registry.resolve("penguins", paths)
    wrong = (
        []
        if log and reigns and reigns.version == log[-1].version
        else ["history and champion disagree"]
    )
    return wrong + (["promoted twice"] if len({e.by for e in log}) < len(log) else [])


COLUMNS = [
    "process",
    "moment",
    "final state",
    "s",
    "slot free",
    "processes",
    "run.json",
    "next run",
    "broken",
]


def main(words: list[str]) -> int:
    broken = 0

    def table(title: str, rig: Rig, rows: list[Row]) -> None:
        nonlocal broken
        told = []
        for row in rows:
            if not words or any(w in str(row) for w in words):
                told.append(tell(rig, row))
                print("  " + " | ".join(told[-1]), flush=True)
        broken += sum(t[-1] != "-" for t in told)
        if told:
            show(title, COLUMNS, told)

    with tempfile.TemporaryDirectory(prefix="creche-kill-") as name:
        started, top = time.time(), Path(name)
        houses = [
            ("SQLite", Rig(top / "project", SLOW, {"cpu": 2, "other": 1}), KILLS, CANCELS, OUTAGES)
        ]
        if postgresql.is_installed():
            database = Postgresql()
            database.start()
            url = {"PREFECT_API_DATABASE_CONNECTION_URL": database.url("asyncpg")}
            kills, outages = on_postgresql(database)
            houses.append(
                ("PostgreSQL", Rig(top / "on-pg", SLOW, {"cpu": 2}, **url), kills, [], outages)
            )
        try:
            for database_name, rig, kills, cancels, outages in houses:
                if words and not any(w in str(r) for w in words for r in kills + cancels + outages):
                    continue
                rig.up()
                first = rig.wait(
                    rig.start("retrain/penguins", recipe="penguins", trigger="schedule"), 400
                )
                assert first["name"] == "Promoted", first
                table(f"Killed with -9, Prefect's database on {database_name}", rig, kills)
                table("Cancelled", rig, cancels)
                table(f"Away, Prefect's database on {database_name}", rig, outages)
        finally:
            for house in houses:
                house[1].creche("down", "--now")
            until(lambda: not any(rig.processes() for _, rig, *_ in houses), 30)
            left = [p for _, rig, *_ in houses for p in rig.processes()]
            if len(houses) > 1:
                database.remove()
        print(
            f"\n{time.time() - started:.0f} s; processes left after creche down: {left or 'none'}; rows that break the demand: {broken}"
        )
    return 1 if broken or left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
