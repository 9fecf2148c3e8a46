"""Promotion under `kill -9`, on SQLite and on an MLflow server over PostgreSQL."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.mlflow_server import MlflowServer
from support.registry import TrainedRun, reconciled_log, register_version, set_champion

from creche import registry
from creche.model.artifact import Model
from creche.project import ProjectPaths, RunPaths
from creche.registry import promotion_log

KILLS = 10  # at random moments, besides those before and after each write
MANY_KILLS = 100
MIN_DONE = 5  # promotions that were not killed
MAX_ATTEMPTS = 400
HERE = Path(__file__).parent


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


class Promoter:
    def __init__(self, paths: RunPaths, env: dict[str, str]) -> None:
        command = [sys.executable, str(HERE / "promoter.py")]
        self.process = subprocess.Popen(
            command,
            cwd=paths.root,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def attempt(self, version: str, point: str = "-", kill_after: float | None = None) -> int:
        """Exit status of one promotion; -9 where it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(version, point, file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(
                child, signal.SIGKILL
            )  # a zombie at the latest: the promoter waits for it only after its line
        return int(self.process.stdout.readline())


def kill_and_count(
    trained_run: TrainedRun, paths: ProjectPaths, env: dict[str, str], random_kills: int = KILLS
) -> dict[str, int]:
    versions = [register_version(trained_run, paths, n) for n in "ab"]
    set_champion(paths, versions[0])
    digests = {v: registry.resolve("penguins", paths, v).digest for v in versions}  # type: ignore[union-attr]
    read = [sys.executable, str(HERE / "champion_reader.py"), json.dumps(digests)]
    reader = subprocess.Popen(
        read, cwd=paths.root, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    promoter, chance = Promoter(paths, env), random.Random(0)
    assert reader.stdout is not None
    reader.stdout.readline()  # it reads
    log: list[promotion_log.PromotionEntry] = []
    kills = attempts = done = 0
    window = 1.0  # seconds in which the kill falls; follows how long a promotion takes here
    points = [f"{n}{after}" for n in (1, 2, 3) for after in ("", "+")]
    while (kills < len(points) + random_kills or done < MIN_DONE) and attempts < MAX_ATTEMPTS:
        version = versions[(attempts + 1) % 2]
        point, delay = (
            (points[attempts], None) if attempts < len(points) else ("-", window * chance.random())
        )
        attempts += 1
        try:
            status = promoter.attempt(version, point, delay)
        except ProcessLookupError:  # it was done before it could be killed
            assert promoter.process.stdout is not None
            status = int(promoter.process.stdout.readline())
        assert status in (0, -signal.SIGKILL)
        kills, done = kills + (status != 0), done + (status == 0)
        window *= 0.85 if status == 0 else 1.04
        log = reconciled_log(paths, log)
        if status == 0:
            assert log[-1].version == version
    promoter.process.communicate()
    told = json.loads(reader.communicate("stop\n")[0])
    assert told["violations"] == 0, told
    for version in versions:
        assert (
            Model(registry.cached_model_path(digests[version], paths), digests[version]).verify()
            == []
        )
    return {
        "kills": kills,
        "done": done,
        "entries": len(log),
        "reads": told["reads"],
        "violations": told["violations"],
    }


def test_promotion_survives_kill_9_at_any_point_on_sqlite(
    trained_run: TrainedRun, paths: RunPaths, capsys: Any
) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "CRECHE_HOME")}
    told = kill_and_count(trained_run, paths, env)
    with capsys.disabled():
        print(f"\nkill -9 on SQLite: {told}")
    assert told["kills"] >= KILLS + 6
    assert told["done"] >= MIN_DONE
    assert told["reads"] > 20


@pytest.mark.slow
def test_promotion_survives_100_random_kills_on_sqlite(
    trained_run: TrainedRun, paths: ProjectPaths, capsys: Any
) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "CRECHE_HOME")}
    counts = kill_and_count(trained_run, paths, env, MANY_KILLS)
    with capsys.disabled():
        print(f"\nkill -9 on SQLite: {counts}")
    assert counts["kills"] >= MANY_KILLS + 6
    assert counts["done"] >= MIN_DONE
    assert counts["reads"] > 100


@pytest.mark.xdist_group("postgresql")
def test_promotion_survives_kill_9_on_a_server_over_postgresql(
    trained_run: TrainedRun, paths: RunPaths, server: MlflowServer, capsys: Any
) -> None:
    told = kill_and_count(trained_run, paths, {**os.environ})
    with capsys.disabled():
        print(f"\nkill -9 on PostgreSQL: {told}")
    assert told["kills"] >= KILLS + 6
    assert told["done"] >= MIN_DONE
    other = next(v for v in ("1", "2") if v != registry.champion_version("penguins", paths))
    server.stop()  # gone in the middle, and back: the promotion waits
    promoted: list[promotion_log.PromotionEntry] = []
    waiting = threading.Thread(
        target=lambda: promoted.append(set_champion(paths, other, "patient"))
    )
    waiting.start()
    time.sleep(3)  # the outage
    server.start()
    waiting.join(120)
    assert [e.version for e in promoted] == [other]
    reconciled_log(paths, [])
