"""A month of schedules in minutes, with faults at random: CRECHE_SOAK_RUNS runs (200), from the
seed CRECHE_SOAK_SEED (0).

Each day has its nightly retraining of three recipes, its batches and, on the seventh, its pruning;
the data change now and then. Meanwhile processes are killed and servers stopped. At the end
everything must be whole; the table tells what happened.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rig import FINAL, Rig, penguins, recipe, show, until

from creche import registry
from creche.model.artifact import Model
from creche.project import ProjectPaths
from creche.provenance import sha256_of
from creche.registry import promotion_log

RUNS, SEED = (
    int(os.environ.get("CRECHE_SOAK_RUNS", "200")),
    int(os.environ.get("CRECHE_SOAK_SEED", "0")),
)
AT_ONCE = 5  # runs asked for and not ended; the pool takes two of them
BETWEEN = 7  # runs between two faults, on average
BAD_FILES = 6  # of an inbox that somebody filled with something else
FAULTS = {
    "a run's process killed": 5, "worker killed": 3, "worker and its runs killed": 4, "Prefect server killed": 3,
    "Prefect server stopped for a while": 3, "MLflow server killed": 2, "keeper killed": 2, "bad data version": 3,
    "data version that no remote holds": 1, "inbox full of bad files": 2,
}  # fmt: skip
END_SECONDS = 180  # within which what was killed is in a final state
DATABASE_BYTES = (
    300_000  # of Prefect's database that a run may cost, until it is let go after keep_days
)
RUN_BYTES, TRAINED_BYTES = (
    50_000,
    1_000_000,
)  # of all the rest that a run, and one that trains, may cost

CHEAP = {
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
RECIPES = {
    "penguins": recipe("penguins", **CHEAP),
    "seabirds": recipe("penguins", **CHEAP, split={"seed": 7}),
    "lab": recipe("penguins-lab", training={"epochs": 10, "repeat": 1}, gate={"accuracy": 0.2, "recall": 0.0, "inconclusive": "promote"}),
}  # fmt: skip


class Month:
    def __init__(self, rig: Rig) -> None:
        self.rig, self.chance = rig, random.Random(SEED)
        self.asked: dict[str, str] = {}  # run → recipe or prune
        self.open: set[str] = set()  # of these, not known to have ended
        self.batches: dict[Path, str] = {}  # where it was dropped → its SHA-256
        self.good: set[str] = set()  # SHA-256 of what can be scored
        self.faults: Counter[str] = Counter()
        self.hit: list[tuple[str, float]] = []  # runs whose process was killed, and when
        self.data, self.spoilt, self.number = b"", False, 0

    def plan(self) -> list[str]:
        """What a month asks for, in its order."""
        found: list[str] = []
        for day in range(1, 1000):
            found += [
                *RECIPES,
                *["batch"] * self.chance.choice((2, 3, 4)),
                *(["prune"] if day % 7 == 0 else []),
            ]
            if len(found) >= RUNS:
                return found[:RUNS]
        raise AssertionError(RUNS)

    def ask(self, what: str) -> None:
        self.number += 1
        if what == "batch":
            self.drop()
            return
        assert until(
            lambda: (
                len(self.running()) < AT_ONCE and what not in {self.asked[r] for r in self.open}
            ),
            600,
        ), what
        key = f"{what}-{self.number}"
        if what == "prune":
            run = self.rig.start("prune/weekly", key, keep=5, days=90)
        else:
            if self.spoilt or self.chance.random() < 0.05:
                self.data, self.spoilt = penguins(self.chance, 0.93), False
                self.rig.put_data(self.data)
            # The first run of a recipe settles where its files go; through the server they could
            # only be had through it.
            through = self.number > len(RECIPES) and self.chance.random() < 0.5
            through_server = (
                {"MLFLOW_TRACKING_URI": self.rig.record()["mlflow"]} if through else None
            )
            run = self.rig.start(
                f"retrain/{what}", key, through_server, recipe=what, trigger="schedule"
            )
        self.asked[run] = what
        self.open.add(run)

    def running(self) -> set[str]:
        self.open -= {r for r in self.open if self.rig.state(r)["type"] in FINAL}
        return self.open

    def drop(self, good: bool = True) -> None:
        """A batch into an inbox; now and then one that was there before, under another name."""
        inbox = self.rig.home / "inbox" / self.chance.choice(list(RECIPES))
        header, *rows = [
            line.split(",", 4)[-1] for line in penguins(self.chance, 0.1).decode().splitlines()
        ]
        lines = [
            f"ring,{header}",
            *(f"{self.number:03}-{i:02},{r}" for i, r in enumerate(rows) if ",," not in r),
        ]
        content = (
            "\n".join(lines) if good else f"nothing,of\nthe,kind {self.chance.random()}"
        ) + "\n"
        before = [p for p, digest in self.batches.items() if digest in self.good]
        path = inbox / f"batch-{len(self.batches):03}.csv"
        part = path.with_name(f".{path.name}")
        if good and before and self.chance.random() < 0.1:
            again = self.chance.choice(before)
            path = again.with_name(path.name)
            part = path.with_name(f".{path.name}")
            part.write_bytes(
                next(p for p in again.parent.rglob(again.name) if p.is_file()).read_bytes()
            )
        else:
            part.write_text(content)
        self.batches[path] = sha256_of(part)
        self.good |= {self.batches[path]} if good else set()
        part.rename(path)

    def waiting(self) -> list[Path]:
        return [p for p in self.batches if p.is_file()]

    def fault(self) -> None:
        what = self.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        if what == "keeper killed":
            self.rig.kill("keeper")
            time.sleep(self.chance.random() * 5)
            self.rig.up()  # as systemd would
        elif what == "worker killed":
            self.rig.kill("worker-cpu")
        elif what == "worker and its runs killed":
            self.rig.kill("worker-cpu")
            self.hit += [hit for p in self.rig.of_runs() if (hit := _kill(p))]
        elif what == "a run's process killed":
            if not (found := self.rig.of_runs()):
                return
            self.hit += [hit for p in [self.chance.choice(found)] if (hit := _kill(p))]
        elif what == "Prefect server killed":
            self.rig.kill("prefect")
        elif what == "Prefect server stopped for a while":
            self.rig.kill("prefect", signal.SIGSTOP)
            time.sleep(5 + self.chance.random() * 15)
            self.rig.kill("prefect", signal.SIGCONT)
        elif what == "MLflow server killed":
            self.rig.kill("mlflow")
        elif what == "inbox full of bad files":
            for _ in range(BAD_FILES):
                self.drop(good=False)
        else:
            self.spoilt = True
            self.rig.put_data(penguins(self.chance, broken=0.3), remote=what == "bad data version")
        self.faults[what] += 1

    def live(self) -> None:
        plan = self.plan()
        for name in RECIPES:
            self.ask(name)
        assert until(
            lambda: not self.running(), 600
        )  # nothing can be scored before there is a champion
        for what in plan[len(RECIPES) :]:
            assert until(lambda: len(self.running()) + len(self.waiting()) < AT_ONCE, 600), (
                self.running(),
                self.waiting(),
            )
            if self.chance.random() < 1 / BETWEEN:
                self.fault()
            self.ask(what)
        assert until(lambda: not self.running() and not self.waiting(), 600), (
            self.running(),
            self.waiting(),
        )


def _kill(process: psutil.Process) -> tuple[str, float] | None:
    with suppress(psutil.Error):
        run = process.environ()["PREFECT__FLOW_RUN_ID"]
        process.kill()
        return run, time.time()
    return None


def _sizes(rig: Rig) -> dict[str, int]:
    def size(path: Path) -> int:
        total = 0
        for file in [path] if path.is_file() else path.rglob("*"):
            with suppress(OSError):
                total += file.stat().st_size if file.is_file() else 0
        return total

    told = {
        name: size(rig.home / name)
        for name in ("mlflow.db", "runs", "artifacts", "models", "inbox", "up")
    }
    return {
        "Prefect's database": sum(size(p) for p in (rig.home / "prefect").glob("prefect.db*")),
        **told,
        "CRECHE_HOME": size(rig.home),
    }


def _house(rig: Rig) -> dict[str, int]:
    found = rig.processes()
    keeper = psutil.Process(rig.pid("keeper"))
    return {
        "processes": len(found),
        "files open in the keeper": keeper.num_fds(),
        "MB of the keeper": keeper.memory_info().rss >> 20,
    }


def test_month_of_schedules_with_faults_leaves_everything_whole(
    tmp_path: Path, capsys: Any
) -> None:
    started = time.time()
    rig = Rig(tmp_path / "project", RECIPES, {"cpu": 2})
    rig.up()
    month = Month(rig)
    try:
        before, house = _sizes(rig), _house(rig)
        try:
            month.live()
        finally:
            runs = rig.runs()
            with capsys.disabled():
                report(month, runs, time.time() - started)
        time.sleep(20)  # what has ended leaves its slot, and its process
        after, house_after = _sizes(rig), _house(rig)
        with capsys.disabled():
            show("Growth", ["what", "before", "after"], [[k, f"{before[k]:,}", f"{after[k]:,}"] for k in before]
                 + [[k, v, house_after[k]] for k, v in house.items()])  # fmt: skip
        wrong = list(amiss(month, runs))
        with capsys.disabled():
            print("\n" + ("\n".join(wrong) or "nothing is amiss"), flush=True)
        assert wrong == []
        trained = sum(r["state"]["name"] in ("Promoted", "Inconclusive", "Rejected") for r in runs)
        grown = {name: after[name] - before[name] for name in before}
        assert grown["Prefect's database"] < DATABASE_BYTES * len(runs)
        assert (
            grown["CRECHE_HOME"] - grown["Prefect's database"]
            < RUN_BYTES * len(runs) + TRAINED_BYTES * trained
        )
        assert house_after["processes"] <= house["processes"]
        assert house_after["files open in the keeper"] <= house["files open in the keeper"] + 10
    finally:
        rig.creche("down", "--now")
    assert until(lambda: not rig.processes(), 60), rig.processes()


def report(month: Month, runs: list[dict[str, Any]], seconds: float) -> None:
    ends: Counter[tuple[str, str]] = Counter()
    for run in runs:
        kind = (
            "prune"
            if run["name"].startswith("all recipes")
            else "score"
            if "inbox" in run["tags"]
            else "retrain"
        )
        ends[kind, run["state"]["name"]] += 1
    show(
        f"Runs: {len(runs)} in {seconds:.0f} s, seed {SEED}",
        ["kind", "ended", "runs"],
        [[*k, n] for k, n in sorted(ends.items())],
    )
    show("Faults", ["fault", "times"], sorted(month.faults.items()))
    ended = {r["id"]: r["end_time"] and _time(r["end_time"]) for r in runs}
    waits = sorted(max(ended[run] - at, 0) for run, at in month.hit if ended.get(run))
    if waits:
        show("Seconds from a run's kill to its final state", ["kills", "median", "longest"],
             [[len(waits), f"{waits[len(waits) // 2]:.0f}", f"{waits[-1]:.0f}"]])  # fmt: skip


def _time(iso: str) -> float:
    return datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp()


def amiss(month: Month, runs: list[dict[str, Any]]) -> Iterator[str]:
    """What is not as it should be at the end."""
    rig = month.rig
    if len(runs) < RUNS:
        yield f"{len(runs)} runs, not {RUNS}"
    yield from (
        f"{r['name']} is {r['state']['name']}" for r in runs if r["state"]["type"] not in FINAL
    )
    yield from (f"{p} is left" for p in rig.of_runs())
    yield from (f"{taken} slots of {name} are taken" for name, taken in rig.slots().items())
    ended = {r["id"]: _time(r["end_time"]) for r in runs if r["end_time"]}
    for run, at in month.hit:
        if not ended.get(run, at + END_SECONDS + 1) - at <= END_SECONDS:
            yield f"{run} was killed and did not end for {END_SECONDS} s"
    for record in rig.home.glob("runs/*/run.json"):
        told = json.loads(record.read_text())
        if told["state"] not in (
            "Promoted",
            "Inconclusive",
            "Unchanged",
            "Rejected",
            "Quarantined",
            "Failed",
        ):
            yield f"{record}: {told['state']}: {told.get('message')}"
    for name in RECIPES:
        yield from _of_recipe(name, month, runs)
    yield from _of_batches(month)


def _of_recipe(name: str, month: Month, runs: list[dict[str, Any]]) -> Iterator[str]:
    paths = ProjectPaths(month.rig.root, month.rig.home)
    promotion_log.reconcile(name, paths)
    log = promotion_log.entries(name, paths)
    standing = [e for e in log if not e.superseded]
    for told in ("by", "version"):
        twice = {k for k, n in Counter(getattr(e, told) for e in standing).items() if n > 1}
        yield from (f"{name}: two promotions of {told} {k}" for k in twice)
    reigning = registry.resolve(name, paths)
    if reigning is None or not standing or reigning.version != standing[-1].version:
        yield f"{name}: {reigning} reigns, its history says {standing[-1:]}"
    elif (
        sha256_of(reigning.path) != reigning.digest
        or Model(reigning.path, reigning.digest).verify()
    ):
        yield f"{name}: the champion's file is not what was registered"
    promoted = sum(
        r["state"]["name"] == "Promoted" and r["parameters"].get("recipe") == name for r in runs
    )
    if promoted > len(standing):  # a run killed after its promotion is not among the former
        yield f"{name}: {promoted} runs promoted, {len(standing)} promotions are on record"


def _of_batches(month: Month) -> Iterator[str]:
    journal = [
        json.loads(line) for line in (month.rig.home / "scorings.jsonl").read_text().splitlines()
    ]
    scored = Counter(
        (Path(e["out"]).parents[1].name, i["sha256"])
        for e in journal
        if e["scored"]
        for i in e["inputs"]
    )
    for path, digest in month.batches.items():
        good = digest in month.good
        found = [p.parent.name for p in path.parent.rglob(path.name) if p.is_file()]
        if found != ["done" if good else "refused"]:
            yield f"{path.name} for {path.parent.name} is in {found}"
        if scored[path.parent.name, digest] != good:
            yield f"{path.name} for {path.parent.name} was scored {scored[path.parent.name, digest]} times"
        if good and len(list(path.parent.glob(f"scored/*-{digest[:12]}/manifest.json"))) != 1:
            yield f"{path.name} for {path.parent.name} has not its one manifest"
