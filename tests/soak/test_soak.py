"""A month of schedules in minutes, with faults at random: CRECHE_SOAK_RUNS runs (200), from the
seed CRECHE_SOAK_SEED (0).

Each day has its nightly retraining of three recipes, its batches and, every seventh, its pruning;
the data change now and then. Meanwhile processes are killed and servers stopped. At the end
everything must be consistent; tables show what happened.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from month import RECIPES, RUNS, SEED, Month
from rig import FINAL, SUPERVISOR, Rig, holds_within, print_table

from creche import registry
from creche.model.artifact import Model
from creche.project import ProjectPaths
from creche.provenance import sha256_of
from creche.registry import promotion_log

FlowRun = dict[str, Any]  # as Prefect's API returns it

# Within so many seconds a killed run is in a final state, and its MLflow run has an end.
END_SECONDS = 180
SETTLE_SECONDS = 20  # for slots and processes of what has ended
BYTES_PER_RUN = 300_000  # of Prefect's database, until runs are deleted after keep_days
OTHER_BYTES_PER_RUN = 50_000  # of everything else
OTHER_BYTES_PER_TRAINING = 1_000_000
EXPECTED_STATES = ("Promoted", "Inconclusive", "Unchanged", "Rejected", "Quarantined", "Failed")


def size_of(path: Path) -> int:
    """Return the bytes of a file or folder that others may be changing."""
    size = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        with suppress(OSError):
            if file.is_file():
                size += file.stat().st_size
    return size


def measure_sizes(rig: Rig) -> dict[str, int]:
    """Return what takes how many bytes."""
    database = sum(size_of(path) for path in (rig.home / "prefect").glob("prefect.db*"))
    sizes = {"Prefect's database": database}
    for name in ("mlflow.db", "runs", "artifacts", "models", "inbox", "up"):
        sizes[name] = size_of(rig.home / name)
    sizes["CRECHE_HOME"] = size_of(rig.home)
    return sizes


@dataclass(frozen=True)
class Usage:
    """What the services use."""

    processes: int
    open_files: int  # of the supervisor
    megabytes: int  # of the supervisor

    @classmethod
    def measure(cls, rig: Rig) -> "Usage":
        supervisor = psutil.Process(rig.pid(SUPERVISOR))
        megabytes = supervisor.memory_info().rss >> 20
        return cls(len(rig.processes()), supervisor.num_fds(), megabytes)


@pytest.mark.timeout(0)
def test_month_of_schedules_with_faults_leaves_everything_consistent(
    tmp_path: Path, capsys: Any
) -> None:
    started = time.time()
    rig = Rig(tmp_path / "project", RECIPES, {"cpu": 2})
    rig.up()
    month = Month(rig)
    try:
        sizes_before = measure_sizes(rig)
        usage_before = Usage.measure(rig)
        try:
            month.run()
        finally:
            runs = rig.runs()
            with capsys.disabled():
                print_report(month, runs, time.time() - started)
        time.sleep(SETTLE_SECONDS)
        sizes = measure_sizes(rig)
        usage = Usage.measure(rig)
        problems = list(find_problems(month, runs))
        with capsys.disabled():
            print_growth(sizes_before, sizes, usage_before, usage)
            print("\n" + ("\n".join(problems) or "no problems"), flush=True)
        assert problems == []
        trainings = [
            run for run in runs if run["state"]["name"] in ("Promoted", "Inconclusive", "Rejected")
        ]
        database_growth = sizes["Prefect's database"] - sizes_before["Prefect's database"]
        total_growth = sizes["CRECHE_HOME"] - sizes_before["CRECHE_HOME"]
        allowed = OTHER_BYTES_PER_RUN * len(runs) + OTHER_BYTES_PER_TRAINING * len(trainings)
        assert database_growth < BYTES_PER_RUN * len(runs)
        assert total_growth - database_growth < allowed
        assert usage.processes <= usage_before.processes
        assert usage.open_files <= usage_before.open_files + 10
    finally:
        rig.creche("down", "--now")
    assert holds_within(lambda: not rig.processes(), 60), rig.processes()


def print_report(month: Month, runs: list[FlowRun], seconds: float) -> None:
    """Print how the runs ended, which faults there were, and how soon killed runs ended."""
    ends: Counter[tuple[str, str]] = Counter()
    for run in runs:
        kind = "retrain"
        if run["name"].startswith("all recipes"):
            kind = "prune"
        elif "inbox" in run["tags"]:
            kind = "score"
        ends[kind, run["state"]["name"]] += 1
    title = f"Runs: {len(runs)} in {seconds:.0f} s, seed {SEED}"
    rows = [[kind, state, count] for (kind, state), count in sorted(ends.items())]
    print_table(title, ["kind", "ended", "runs"], rows)
    print_table("Faults", ["fault", "times"], sorted(month.fault_counts.items()))
    ended = end_times(runs)
    waits = []
    for kill in month.kills:
        if kill.run_id in ended:
            waits.append(max(ended[kill.run_id] - kill.time, 0))
    waits.sort()
    if waits:
        row = [len(waits), f"{waits[len(waits) // 2]:.0f}", f"{waits[-1]:.0f}"]
        title = "Seconds from a run's kill to its final state"
        print_table(title, ["kills", "median", "longest"], [row])


def print_growth(
    sizes_before: dict[str, int], sizes: dict[str, int], usage_before: Usage, usage: Usage
) -> None:
    rows: list[list[Any]] = []
    for name, size in sizes_before.items():
        rows.append([name, f"{size:,}", f"{sizes[name]:,}"])
    rows.append(["processes", usage_before.processes, usage.processes])
    rows.append(["open files of the supervisor", usage_before.open_files, usage.open_files])
    rows.append(["MB of the supervisor", usage_before.megabytes, usage.megabytes])
    print_table("Growth", ["what", "before", "after"], rows)


def end_times(runs: list[FlowRun]) -> dict[str, float]:
    """Return when each run ended (s since the epoch)."""
    times = {}
    for run in runs:
        if run["end_time"]:
            end = datetime.fromisoformat(run["end_time"].replace("Z", "+00:00"))
            times[run["id"]] = end.timestamp()
    return times


def find_problems(month: Month, runs: list[FlowRun]) -> Iterator[str]:
    """Yield what is not as it should be at the end."""
    rig = month.rig
    if len(runs) < RUNS:
        yield f"{len(runs)} runs, not {RUNS}"
    for run in runs:
        if run["state"]["type"] not in FINAL:
            yield f"{run['name']} is {run['state']['name']}"
    for process in rig.processes_of_runs():
        yield f"{process} is left"
    for name, taken in rig.slots().items():
        yield f"{taken} slots of {name} are taken"
    ended = end_times(runs)
    for kill in month.kills:
        if ended.get(kill.run_id, float("inf")) - kill.time > END_SECONDS:
            yield f"{kill.run_id} was killed and did not end for {END_SECONDS} s"
    holds_within(lambda: not registry.unfinished_runs(rig.paths), END_SECONDS)
    for tracked in registry.unfinished_runs(rig.paths):
        yield f"{tracked.name} of {tracked.recipe} has no end in MLflow"
    for path in rig.home.glob("runs/*/run.json"):
        record = json.loads(path.read_text())
        if record["state"] not in EXPECTED_STATES:
            yield f"{path}: {record['state']}: {record.get('message')}"
    for name in RECIPES:
        yield from find_recipe_problems(name, rig.paths, runs)
    yield from find_batch_problems(month)


def find_recipe_problems(name: str, paths: ProjectPaths, runs: list[FlowRun]) -> Iterator[str]:
    """Yield how champion, promotion log and runs of a recipe disagree."""
    promotion_log.reconcile(name, paths)
    entries = [entry for entry in promotion_log.entries(name, paths) if not entry.superseded]
    for attribute in ("by", "version"):
        counts = Counter(getattr(entry, attribute) for entry in entries)
        for value, count in counts.items():
            if count > 1:
                yield f"{name}: {count} promotions of {attribute} {value}"
    champion = registry.champion(name, paths)
    if champion is None or not entries or champion.version != entries[-1].version:
        yield f"{name}: {champion} is champion, the promotion log has {entries[-1:]}"
    elif (
        sha256_of(champion.path) != champion.digest
        or Model(champion.path, champion.digest).verify()
    ):
        yield f"{name}: the champion's file is not the one that was registered"
    n_promoted = 0
    for run in runs:
        if run["state"]["name"] == "Promoted" and run["parameters"].get("recipe") == name:
            n_promoted += 1
    # A run that was killed after its promotion is not among these.
    if n_promoted > len(entries):
        yield f"{name}: {n_promoted} runs promoted, the promotion log has {len(entries)} entries"


def find_batch_problems(month: Month) -> Iterator[str]:
    """Yield batches that were not moved where they belong, or not scored exactly once."""
    log = (month.rig.home / "scorings.jsonl").read_text().splitlines()
    scorings: Counter[tuple[str, str]] = Counter()
    for line in log:
        entry = json.loads(line)
        if entry["scored"]:
            inbox_name = Path(entry["out"]).parents[1].name
            for scored in entry["inputs"]:
                scorings[inbox_name, scored["sha256"]] += 1
    for path, digest in month.batches.items():
        inbox = path.parent
        batch = f"{path.name} for {inbox.name}"
        scorable = digest in month.scorable
        folders = [file.parent.name for file in inbox.rglob(path.name) if file.is_file()]
        if folders != ["done" if scorable else "refused"]:
            yield f"{batch} is in {folders}"
        n_scorings = scorings[inbox.name, digest]
        if n_scorings != scorable:
            yield f"{batch} was scored {n_scorings} times"
        manifests = list(inbox.glob(f"scored/*-{digest[:12]}/manifest.json"))
        if scorable and len(manifests) != 1:
            yield f"{batch} has {len(manifests)} manifests"
