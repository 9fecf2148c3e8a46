"""Promotion under `kill -9`, on SQLite and on an MLflow server over PostgreSQL."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.mlflow_server import MlflowServer
from support.registry import TrainedRun, reconciled_log, register_version, set_champion

from creche import registry
from creche.model.artifact import Model
from creche.project import ProjectPaths, RunPaths
from creche.registry import promotion_log

RANDOM_KILLS = 10  # besides those before and after each write
MANY_RANDOM_KILLS = 100
KILL_POINTS = ("1", "1+", "2", "2+", "3", "3+")  # before and after each write
MIN_PROMOTIONS = 5  # that were not killed
MIN_READS = 20
MAX_ATTEMPTS = 400
OUTAGE_SECONDS = 3
FOLDER = Path(__file__).parent


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


class Promoter:
    """Promotes each time in a process of its own that can be killed; see promoter.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def attempt(self, version: str, point: str = "-", kill_after: float | None = None) -> int:
        """Return the exit code of one promotion; -9 where it was killed."""
        assert self.process.stdin is not None
        print(version, point, file=self.process.stdin, flush=True)
        child = self._read_number()
        if kill_after is not None:
            time.sleep(kill_after)
            # It may have ended before.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return self._read_number()

    def _read_number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def script(
    name: str, *arguments: str, paths: ProjectPaths, env: dict[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """Run a script of this folder, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / name), *arguments],
        cwd=paths.root,
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_and_count(
    trained_run: TrainedRun,
    paths: ProjectPaths,
    env: dict[str, str],
    random_kills: int = RANDOM_KILLS,
) -> dict[str, int]:
    """Promote two versions in turn, with kills at each write and at random, while a reader reads.

    Returns:
        Counts of kills, promotions, entries of the log, and reads.
    """
    versions = [register_version(trained_run, paths, name) for name in "ab"]
    set_champion(paths, versions[0])
    digests = {}
    for version in versions:
        resolved = registry.registered_version("penguins", version, paths)
        assert resolved is not None
        digests[version] = resolved.digest
    with (
        script("champion_reader.py", json.dumps(digests), paths=paths, env=env) as reader,
        script("promoter.py", paths=paths, env=env) as process,
    ):
        assert reader.stdout is not None
        # Its first line says that it reads.
        reader.stdout.readline()
        counts = _promote_and_kill(Promoter(process), versions, paths, random_kills)
        report = json.loads(reader.communicate("stop\n")[0])
    assert report["violations"] == 0, report
    for digest in digests.values():
        model = Model(registry.cached_model_path(digest, paths), digest)
        assert model.verify() == []
    return {**counts, "reads": report["reads"]}


def _promote_and_kill(
    promoter: Promoter, versions: list[str], paths: ProjectPaths, random_kills: int
) -> dict[str, int]:
    chance = random.Random(0)
    log: list[promotion_log.PromotionEntry] = []
    kills = promotions = attempts = 0
    # Seconds in which the kill falls; follows how long a promotion takes on this machine.
    window = 1.0
    while kills < len(KILL_POINTS) + random_kills or promotions < MIN_PROMOTIONS:
        if attempts == MAX_ATTEMPTS:
            break
        version = versions[(attempts + 1) % 2]
        if attempts < len(KILL_POINTS):
            exit_code = promoter.attempt(version, KILL_POINTS[attempts])
        else:
            exit_code = promoter.attempt(version, kill_after=window * chance.random())
        attempts += 1
        assert exit_code in (0, -signal.SIGKILL)
        log = reconciled_log(paths, log)
        if exit_code == 0:
            promotions += 1
            window *= 0.85
            assert log[-1].version == version
        else:
            kills += 1
            window *= 1.04
    return {"kills": kills, "promotions": promotions, "entries": len(log)}


@pytest.mark.parametrize(
    "random_kills", [RANDOM_KILLS, pytest.param(MANY_RANDOM_KILLS, marks=pytest.mark.slow)]
)
def test_promotion_survives_kill_9_at_any_point_on_sqlite(
    trained_run: TrainedRun,
    paths: RunPaths,
    random_kills: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = kill_and_count(trained_run, paths, {**os.environ}, random_kills)
    with capsys.disabled():
        print(f"\nkill -9 on SQLite: {counts}")
    assert counts["kills"] >= len(KILL_POINTS) + random_kills
    assert counts["promotions"] >= MIN_PROMOTIONS
    assert counts["reads"] > max(random_kills, MIN_READS)


@pytest.mark.xdist_group("postgresql")
def test_promotion_survives_kill_9_on_a_server_over_postgresql(
    trained_run: TrainedRun,
    paths: RunPaths,
    server: MlflowServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = kill_and_count(trained_run, paths, {**os.environ})
    with capsys.disabled():
        print(f"\nkill -9 on PostgreSQL: {counts}")
    assert counts["kills"] >= len(KILL_POINTS) + RANDOM_KILLS
    assert counts["promotions"] >= MIN_PROMOTIONS


@pytest.mark.xdist_group("postgresql")
def test_promotion_waits_for_a_server_that_is_away(
    trained_run: TrainedRun, paths: RunPaths, server: MlflowServer
) -> None:
    version = register_version(trained_run, paths, "patient")
    entries: list[promotion_log.PromotionEntry] = []
    promotion = threading.Thread(
        target=lambda: entries.append(set_champion(paths, version, "patient"))
    )
    server.stop()
    try:
        promotion.start()
        time.sleep(OUTAGE_SECONDS)
    finally:
        server.start()
    promotion.join(120)
    assert [entry.version for entry in entries] == [version]
    reconciled_log(paths, [])
