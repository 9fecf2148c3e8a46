"""A month of schedules, with faults at random."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rig import FINAL, SUPERVISOR, Rig, holds_within, penguins, recipe

from creche.operations.run_processes import FLOW_RUN_VARIABLE
from creche.provenance import sha256_of

RUNS = int(os.environ.get("CRECHE_SOAK_RUNS", "200"))
SEED = int(os.environ.get("CRECHE_SOAK_SEED", "0"))
MAX_UNFINISHED = 5  # runs and batches at the same time; the pool takes two of them
RUNS_PER_FAULT = 7  # on average
BAD_FILES = 6  # of an inbox that was filled with something else
CHANGED_DATA_SHARE = 0.05  # of retrainings, 0..1
BY_SERVER_SHARE = 0.5  # of retrainings that use the MLflow server, 0..1
REPEATED_BATCH_SHARE = 0.1  # of batches whose content was scored before, 0..1
WAIT_SECONDS = 600

QUICK = {
    "training": {"epochs": 10},
    "gate": {
        "accuracy": 0.3,
        "recall": 0.0,
        "slices": {},
        "behavior": [],
        "calibration_error": None,
        "inconclusive": "promote",
    },
}
LAB = {
    "training": {"epochs": 10, "repeat": 1},
    "gate": {"accuracy": 0.2, "recall": 0.0, "inconclusive": "promote"},
}
RECIPES = {
    "penguins": recipe("penguins", **QUICK),
    "seabirds": recipe("penguins", **QUICK, split={"seed": 7}),
    "lab": recipe("penguins-lab", **LAB),
}


@dataclass(frozen=True)
class Kill:
    """A run whose process was killed."""

    run_id: str
    time: float  # s since the epoch


class Month:
    """The events of a month, and what has come of them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.random = random.Random(SEED)
        self.started: dict[str, str] = {}  # run → recipe, or prune
        self.unfinished: set[str] = set()  # of these, the runs not known to have ended
        self.batches: dict[Path, str] = {}  # where it was put → its SHA-256
        self.scorable: set[str] = set()  # SHA-256 of the batches that can be scored
        self.fault_counts: Counter[str] = Counter()
        self.kills: list[Kill] = []
        self.data_are_broken = False
        self.n_events = 0
        self.faults: dict[str, tuple[int, Callable[[], bool]]] = {
            "a run's process killed": (5, self._kill_run),
            "worker killed": (3, self._kill_worker),
            "worker and its runs killed": (4, self._kill_worker_and_runs),
            "Prefect server killed": (3, lambda: self._kill("prefect")),
            "Prefect server stopped for a while": (3, self._pause_prefect),
            "MLflow server killed": (2, lambda: self._kill("mlflow")),
            "supervisor killed": (2, self._kill_supervisor),
            "bad data version": (3, lambda: self._break_data(in_remote=True)),
            "data version that no remote has": (1, lambda: self._break_data(in_remote=False)),
            "inbox full of bad files": (2, self._fill_inbox),
        }

    def run(self) -> None:
        """Let all events of the month happen, and wait for what they started."""
        events = self._plan()
        for name in RECIPES:
            self._perform(name)
        # Nothing can be scored before there is a champion.
        self._wait_until(lambda: not self._running())
        for event in events[len(RECIPES) :]:
            self._wait_until(lambda: self._n_unfinished() < MAX_UNFINISHED)
            if self.random.random() < 1 / RUNS_PER_FAULT:
                self._fault()
            self._perform(event)
        self._wait_until(lambda: self._n_unfinished() == 0)

    def _plan(self) -> list[str]:
        """Return the events in their order: recipes to retrain, batches, prunings."""
        events: list[str] = []
        day = 0
        while len(events) < RUNS:
            day += 1
            events += RECIPES
            events += ["batch"] * self.random.choice((2, 3, 4))
            if day % 7 == 0:
                events.append("prune")
        return events[:RUNS]

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        if not holds_within(condition, WAIT_SECONDS):
            pytest.fail(f"runs {self._running()} and batches {self._waiting_batches()} are left")

    def _n_unfinished(self) -> int:
        return len(self._running()) + len(self._waiting_batches())

    def _running(self) -> set[str]:
        for run_id in list(self.unfinished):
            if self.rig.run_state(run_id)["type"] in FINAL:
                self.unfinished.remove(run_id)
        return self.unfinished

    def _waiting_batches(self) -> list[Path]:
        return [path for path in self.batches if path.is_file()]

    # events

    def _perform(self, event: str) -> None:
        self.n_events += 1
        if event == "batch":
            self._put_batch(scorable=True)
            return
        self._wait_until(lambda: self._may_start(event))
        key = f"{event}-{self.n_events}"
        run_id = self._prune(key) if event == "prune" else self._retrain(event, key)
        self.started[run_id] = event
        self.unfinished.add(run_id)

    def _may_start(self, event: str) -> bool:
        running = self._running()
        of_same_kind = [run_id for run_id in running if self.started[run_id] == event]
        return len(running) < MAX_UNFINISHED and not of_same_kind

    def _prune(self, key: str) -> str:
        return self.rig.start("prune/weekly", key, keep=5, days=90)

    def _retrain(self, name: str, key: str) -> str:
        if self.data_are_broken or self.random.random() < CHANGED_DATA_SHARE:
            self.data_are_broken = False
            self.rig.put_data(penguins(self.random, 0.93))
        env = None
        # The first run of a recipe decides where MLflow keeps its files; decided by the server,
        # they could be read through the server only.
        is_first = self.n_events <= len(RECIPES)
        if not is_first and self.random.random() < BY_SERVER_SHARE:
            env = {"MLFLOW_TRACKING_URI": self.rig.addresses().mlflow_url}
        return self.rig.start(f"retrain/{name}", key, env, recipe=name, trigger="schedule")

    def _put_batch(self, scorable: bool) -> None:
        """Put a batch into an inbox; now and then one with the content of another."""
        inbox = self.rig.home / "inbox" / self.random.choice(list(RECIPES))
        content = self._observations() if scorable else self._nonsense()
        earlier = [path for path, digest in self.batches.items() if digest in self.scorable]
        name = f"batch-{len(self.batches):03}.csv"
        if scorable and earlier and self.random.random() < REPEATED_BATCH_SHARE:
            original = self.random.choice(earlier)
            inbox = original.parent
            # It may have been moved to done/.
            file = next(path for path in inbox.rglob(original.name) if path.is_file())
            content = file.read_bytes()
        path = inbox / name
        part = path.with_name(f".{name}")
        part.write_bytes(content)
        digest = sha256_of(part)
        self.batches[path] = digest
        if scorable:
            self.scorable.add(digest)
        part.rename(path)

    def _observations(self) -> bytes:
        """Return complete rows of penguins, without the columns that only training needs."""
        header, *rows = penguins(self.random, 0.1).decode().splitlines()
        lines = [f"ring,{header.split(',', 4)[-1]}"]
        for number, row in enumerate(rows):
            cells = row.split(",", 4)[-1]
            if ",," not in cells:
                lines.append(f"{self.n_events:03}-{number:02},{cells}")
        return ("\n".join(lines) + "\n").encode()

    def _nonsense(self) -> bytes:
        return f"nothing,of\nthe,kind {self.random.random()}\n".encode()

    # faults: each returns whether there was something to break

    def _fault(self) -> None:
        weights = [weight for weight, _ in self.faults.values()]
        name = self.random.choices(list(self.faults), weights)[0]
        _, action = self.faults[name]
        if action():
            self.fault_counts[name] += 1

    def _kill(self, name: str) -> bool:
        self.rig.kill(name)
        return True

    def _kill_supervisor(self) -> bool:
        self.rig.kill(SUPERVISOR)
        time.sleep(self.random.random() * 5)
        self.rig.up()
        return True

    def _kill_worker(self) -> bool:
        return self._kill("worker-cpu")

    def _kill_worker_and_runs(self) -> bool:
        self.rig.kill("worker-cpu")
        for process in self.rig.processes_of_runs():
            self._kill_process(process)
        return True

    def _kill_run(self) -> bool:
        processes = self.rig.processes_of_runs()
        if not processes:
            return False
        self._kill_process(self.random.choice(processes))
        return True

    def _kill_process(self, process: psutil.Process) -> None:
        with suppress(psutil.Error):
            run_id = process.environ()[FLOW_RUN_VARIABLE]
            process.kill()
            self.kills.append(Kill(run_id, time.time()))

    def _pause_prefect(self) -> bool:
        self.rig.kill("prefect", signal.SIGSTOP)
        time.sleep(5 + self.random.random() * 15)
        self.rig.kill("prefect", signal.SIGCONT)
        return True

    def _break_data(self, in_remote: bool) -> bool:
        self.data_are_broken = True
        self.rig.put_data(penguins(self.random, broken_share=0.3), in_remote=in_remote)
        return True

    def _fill_inbox(self) -> bool:
        for _ in range(BAD_FILES):
            self._put_batch(scorable=False)
        return True
