"""What becomes of a run when a process of the services is killed, when it is canceled, and when a
server is away.

`make soak` runs all of it; `python tests/soak/kill_table.py TEXT …` only the rows that contain one
of the texts. Each row is a run of the penguins that is hit at a moment, and the run after it, which
must end as if nothing had happened.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import (
    CANCEL_SECONDS,
    CANCELS,
    KILLS,
    OUTAGES,
    Row,
    cancel,
    kills_of_postgresql,
    outages_of_postgresql,
)
from rig import FINAL, Rig, holds_within, print_table, recipe
from support import postgresql
from support.postgresql import Postgresql

from creche import registry
from creche.project import RUN, read_json
from creche.registry import promotion_log

PROCESS_SECONDS = 60  # within which the processes of a run that was hit are gone
SLOT_SECONDS = 20  # within which its slot is free then
MLFLOW_SECONDS = 180  # within which its MLflow run has an end
RUN_SECONDS = 400  # that a run may take
EPOCHS = 120  # a quarter of a minute, on a machine with two busy cores
RECIPES = {"penguins": recipe("penguins", training={"epochs": EPOCHS})}


@dataclass
class Outcome:
    """What became of one row."""

    row: Row
    state: dict[str, Any]  # of the run
    seconds: float  # from the fault to that state
    was_seen: bool  # the run was hit at its moment
    slots: dict[str, int]  # that stayed taken
    processes_left: bool
    record_state: str  # in run.json
    next_state: dict[str, Any]  # of the run after it
    unfinished: list[str]  # names of other flow runs, and MLflow runs, without an end
    registry_problems: list[str]

    def problems(self) -> Iterator[str]:
        """Yield how it breaks what the services promise."""
        if not self.was_seen:
            yield "not seen at that moment"
        if self.state["name"] not in self.row.expected:
            yield f"not {' or '.join(self.row.expected)}"
        is_late = self.seconds > self.row.seconds and not self.row.is_outage
        if is_late and self.state["type"] != "COMPLETED":
            yield f"{self.seconds:.0f} s"
        if self.processes_left:
            yield "a process is left"
        if self.slots:
            yield f"slots taken: {self.slots}"
        if self.next_state["type"] != "COMPLETED":
            yield f"next run: {self.next_state['name']}: {self.next_state['message']}"
        if self.unfinished:
            yield f"without an end: {self.unfinished}"
        if self.record_state not in (self.state["name"], "none", "Interrupted"):
            yield f"run.json has {self.record_state}"
        yield from self.registry_problems

    def cells(self) -> list[str]:
        """Return its row of the printed table."""
        return [
            self.row.fault,
            self.row.moment,
            self.state["name"],
            f"{self.seconds:.0f}",
            "NO" if self.slots else "yes",
            "LEFT" if self.processes_left else "none",
            self.record_state,
            self.next_state["name"],
            "; ".join(self.problems()) or "-",
        ]


COLUMNS = [
    "process",
    "moment",
    "final state",
    "s",
    "slot free",
    "processes",
    "run.json",
    "next run",
    "problems",
]


def perform(rig: Rig, row: Row) -> Outcome:
    """Start a run, hit it, and wait for what becomes of it and of the next run."""
    # Otherwise the training would resume where the last one was hit.
    shutil.rmtree(rig.home / "checkpoints", ignore_errors=True)
    folder = f"{row.fault}-{row.moment}".replace(" ", "-")
    env = {"MLFLOW_TRACKING_URI": rig.addresses().mlflow_url} if row.by_server else None
    row.prepare(rig, "")
    parameters = {"run_id": folder, "force": True, "trigger": "test", **row.parameters}
    run_id = rig.start("retrain/penguins", None, env, recipe="penguins", **parameters)
    training_folder = f"{folder}-train" if "pool" in row.parameters else folder
    was_seen = True
    if row.moment != "pulling":
        was_seen = rig.wait_for_moment(run_id, training_folder, row.moment)
    hit_at = time.time()
    row.action(rig, run_id)
    state = rig.wait_for_end(run_id, RUN_SECONDS)
    seconds = time.time() - hit_at
    process_seconds = CANCEL_SECONDS if row.action is cancel else PROCESS_SECONDS
    processes_left = not holds_within(lambda: not rig.processes_of_runs(), process_seconds)
    slots_free = holds_within(lambda: not rig.slots(), SLOT_SECONDS)
    next_run = rig.start("retrain/penguins", recipe="penguins", trigger="schedule")
    next_state = rig.wait_for_end(next_run, RUN_SECONDS)
    record = rig.home / "runs" / folder / RUN
    outcome = Outcome(
        row=row,
        state=state,
        seconds=seconds,
        was_seen=was_seen,
        slots={} if slots_free else rig.slots(),
        processes_left=processes_left,
        record_state=read_json(record)["state"] if record.is_file() else "none",
        next_state=next_state,
        unfinished=unfinished(rig),
        registry_problems=check_registry(rig),
    )
    if any(outcome.problems()):
        print(f"  {row}: {state}", flush=True)
    return outcome


def unfinished(rig: Rig) -> list[str]:
    """Return what has no end: flow runs, and MLflow runs that the services should have marked."""
    names = []
    for run in rig.runs():
        if run["state"]["type"] not in FINAL:
            names.append(f"{run['name']} {run['state']['name']}")
    holds_within(lambda: not registry.unfinished_runs(rig.paths), MLFLOW_SECONDS)
    for tracked in registry.unfinished_runs(rig.paths):
        names.append(f"{tracked.name} in MLflow")
    return names


def check_registry(rig: Rig) -> list[str]:
    """Return what is wrong with champion and promotion log."""
    promotion_log.reconcile("penguins", rig.paths)
    entries = [e for e in promotion_log.entries("penguins", rig.paths) if not e.superseded]
    champion = registry.champion("penguins", rig.paths)
    problems = []
    if not entries or champion is None or champion.version != entries[-1].version:
        problems.append("promotion log and champion disagree")
    if len({entry.by for entry in entries}) < len(entries):
        problems.append("promoted twice")
    return problems


@dataclass
class Suite:
    """The rows for one database of Prefect."""

    database: str
    rig: Rig
    tables: dict[str, list[Row]]  # title → rows

    def select(self, texts: Sequence[str]) -> None:
        """Keep the rows that contain one of the texts, where there are some."""
        if texts:
            for title, rows in self.tables.items():
                self.tables[title] = [
                    row for row in rows if any(text in str(row) for text in texts)
                ]

    def run(self) -> int:
        """Perform the rows, print the tables, and return the number of rows with problems."""
        if not any(self.tables.values()):
            return 0
        self.rig.up()
        first = self.rig.start("retrain/penguins", recipe="penguins", trigger="schedule")
        state = self.rig.wait_for_end(first, RUN_SECONDS)
        assert state["name"] == "Promoted", state
        n_problems = 0
        for title, rows in self.tables.items():
            lines = []
            for row in rows:
                outcome = perform(self.rig, row)
                n_problems += any(outcome.problems())
                lines.append(outcome.cells())
                print("  " + " | ".join(lines[-1]), flush=True)
            if lines:
                print_table(f"{title}, Prefect's database on {self.database}", COLUMNS, lines)
        return n_problems


@contextmanager
def prepared_suites(folder: Path) -> Iterator[list[Suite]]:
    """Provide the suites; their services are stopped at the end."""
    rig = Rig(folder / "project", RECIPES, {"cpu": 2, "other": 1})
    tables = {"Killed with -9": KILLS, "Canceled": CANCELS, "Away": OUTAGES}
    suites = [Suite("SQLite", rig, tables)]
    with ExitStack() as stack:
        if postgresql.is_installed():
            database = Postgresql()
            database.start()
            stack.callback(database.remove)
            url = {"PREFECT_API_DATABASE_CONNECTION_URL": database.url("asyncpg")}
            rig = Rig(folder / "on-postgresql", RECIPES, {"cpu": 2}, **url)
            tables = {
                "Killed with -9": kills_of_postgresql(database),
                "Away": outages_of_postgresql(database),
            }
            suites.append(Suite("PostgreSQL", rig, tables))
        for suite in suites:
            stack.callback(suite.rig.creche, "down", "--now")
        yield suites


def main(texts: list[str]) -> int:
    started = time.time()
    n_problems = 0
    with tempfile.TemporaryDirectory(prefix="creche-kill-") as name:
        with prepared_suites(Path(name)) as suites:
            for suite in suites:
                suite.select(texts)
                n_problems += suite.run()
        rigs = [suite.rig for suite in suites]
        holds_within(lambda: not any(rig.processes() for rig in rigs), 30)
        left = [process for rig in rigs for process in rig.processes()]
    print(
        f"\n{time.time() - started:.0f} s; processes left after creche down: {left or 'none'}; "
        f"rows with problems: {n_problems}"
    )
    return 1 if n_problems or left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
