"""Promotion under `kill -9`, on SQLite and on an MLflow server over PostgreSQL: one whole champion, nothing lost."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest

from creche import registry
from creche.errors import RegistryError, UsageError
from creche.model.artifact import Model
from creche.pipeline.reproduce import Agreement, FileDifference, reproduce
from creche.pipeline.retention import prunable_versions
from creche.project import MODEL, WEIGHTS, ProjectPaths, RunPaths
from creche.provenance import sha256_of
from creche.recipe import Recipe
from creche.registry import promotion_log
from creche.registry.client import client
from creche.scoring.lineage import note

Raised = tuple[Recipe, RunPaths, dict[str, dict[str, object]]]
KILLS = 10  # at random moments, besides those before and after each write
MANY_KILLS = 100
MIN_DONE = 5  # promotions that were not killed
MAX_ATTEMPTS = 400
HERE = Path(__file__).parent


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


def version_of(trained_run: Raised, paths: RunPaths, note: str, verdict: str = "PROMOTE") -> str:
    """A registered version whose file is its own."""
    model = onnx.load(trained_run[1] / MODEL)
    onnx.helper.set_model_props(
        model, {**{p.key: p.value for p in model.metadata_props}, "note": note}
    )
    path = paths.home / f"{note}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    run = registry.TrackedRun.start("penguins", note, {}, {}, paths)
    tags = {"verdict": verdict, "verdict_id": f"v-{note}", "data_version": "d"}
    return registry.register(path, sha256_of(path), "s", [1], tags, run)


def set_champion(
    paths: RunPaths, version: str, by: str = "run", **options: Any
) -> promotion_log.PromotionEntry:
    return promotion_log.set_champion(
        "penguins", version, paths, "promotion", f"{by} says so", by, **options
    )


def whole(paths: RunPaths, before: list[promotion_log.PromotionEntry]) -> list[promotion_log.PromotionEntry]:
    """The log, once the next command has last_modified it: it tells the same as the alias, and holds all that it held."""
    for _ in range(5):  # what a killed client had sent, a server may do after its death
        promotion_log.reconcile("penguins", paths)
        log = promotion_log.entries("penguins", paths)
        last = promotion_log.head(log)
        if registry.champion_version("penguins", paths) == (last.version if last else None):
            break
        time.sleep(0.2)
    assert registry.champion_version("penguins", paths) == (last.version if last else None)
    assert [e.number for e in log] == list(range(1, len(log) + 1))
    for then, now in zip(before, log, strict=False):
        assert (then.version, then.reason, then.superseded) == (now.version, now.reason, now.superseded)
    assert len(log) >= len(before)
    return log


def test_history_tells_who_reigned_when_and_why(trained_run: Raised, paths: RunPaths) -> None:
    first, second, held = (
        version_of(trained_run, paths, n, v)
        for n, v in (("a", "PROMOTE"), ("b", "PROMOTE"), ("c", "REJECT"))
    )
    set_champion(paths, first, "run-1", verdict_id="v-a", expected=None)
    set_champion(paths, second, "run-2", expected=first)
    promotion_log.promote("penguins", held, "the holdout was mislabelled", paths)
    entry = promotion_log.rollback("penguins", None, "it was not", paths)
    assert entry.version == second
    promotion_log.rollback("penguins", first, "two steps back", paths)
    log = whole(paths, [])
    assert [(e.version, e.kind) for e in log] == [
        (first, "promotion"), (second, "promotion"), (held, "override"), (second, "rollback"), (first, "rollback"),
    ]  # fmt: skip
    assert log[2].overrules == "v-c (REJECT against none)"
    assert (log[0].by, log[0].verdict_id, log[2].by) == ("run-1", "v-a", promotion_log.user_name())
    at = promotion_log.champion_at(log, log[1].time)
    assert at is not None
    assert at.number == 2
    assert promotion_log.champion_at(log, log[0].time - timedelta(seconds=1)) is None


def test_champion_is_not_replaced_by_what_may_not_reign(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, held = version_of(trained_run, paths, "a"), version_of(trained_run, paths, "c", "REJECT")
    with pytest.raises(
        RegistryError, match="has no earlier champion that the gate accepted"
    ):
        promotion_log.rollback("penguins", None, "x", paths)
    set_champion(paths, first)
    for words, message in [
        (
            (held, "x"),
            rf"version {held} of penguins was never champion \(REJECT\).* creche promote penguins@{held}",
        ),
        (
            ("9", "x"),
            r"version 9 of penguins was never champion \(no verdict: there is no such version\)",
        ),
    ]:
        with pytest.raises(RegistryError, match=message):
            promotion_log.rollback("penguins", *words, paths)
    with pytest.raises(UsageError, match="is already champion"):
        promotion_log.promote("penguins", first, "x", paths)
    with pytest.raises(UsageError, match="--reason: state it"):
        promotion_log.promote("penguins", held, " ", paths)
    with pytest.raises(RegistryError, match="penguins has no version 9"):
        promotion_log.promote("penguins", "9", "x", paths)
    with pytest.raises(
        RegistryError, match=f"changed while version {held} was judged: it is now {first}, not None"
    ):
        set_champion(paths, held, "run-2", expected=None)
    assert [e.version for e in whole(paths, [])] == [first]


def test_altered_file_of_an_earlier_champion_is_not_put_back(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second = version_of(trained_run, paths, "a"), version_of(trained_run, paths, "b")
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    found = registry.resolve("penguins", paths, first)
    assert found is not None
    for file in paths.home.rglob("*.onnx"):  # the copy here and the one in the store
        if sha256_of(file) == found.digest:
            file.write_bytes(file.read_bytes().replace(b"Torgersen", b"Torgersem"))
    with pytest.raises(
        RegistryError,
        match=rf"version {first}: its model.onnx cannot be fetched from the store \(its SHA-256",
    ):
        promotion_log.rollback("penguins", first, "x", paths)
    assert registry.champion_version("penguins", paths) == second


def test_of_two_promoters_at_once_one_wins_and_the_other_is_told(
    trained_run: Raised, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (version_of(trained_run, paths, n) for n in "abc")
    set_champion(paths, first)
    append = promotion_log._append

    def late(*words: Any, **told: Any) -> promotion_log.PromotionEntry:
        monkeypatch.setattr(promotion_log, "_append", append)
        set_champion(paths, second, "quick")  # between the slow one's look and its entry
        return append(*words, **told)

    monkeypatch.setattr(promotion_log, "_append", late)
    with pytest.raises(
        RegistryError,
        match=rf"quick made version {second} champion of penguins first .*version {third} is on",
    ):
        set_champion(paths, third, "slow", expected=first)
    log = whole(paths, [])
    assert [(e.by, e.superseded) for e in log] == [("run", False), ("quick", False), ("slow", True)]
    assert registry.champion_version("penguins", paths) == second


def test_retry_of_a_promotion_that_went_through_adds_nothing(
    trained_run: Raised, paths: RunPaths
) -> None:
    version = version_of(trained_run, paths, "a")
    assert (
        set_champion(paths, version, expected=None).number
        == set_champion(paths, version, expected=None).number
        == 1
    )


def test_champion_from_before_the_history_is_found_and_put_on_record(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second = version_of(trained_run, paths, "a"), version_of(trained_run, paths, "b")
    registry.set_champion_alias("penguins", first, paths)
    assert promotion_log.reconcile("penguins", paths) is None
    set_champion(paths, second, expected=first)
    assert [(e.version, e.kind, e.superseded) for e in whole(paths, [])] == [
        (first, "pre-existing", False),
        (second, "promotion", False),
    ]


def test_clock_that_goes_backwards_does_not_turn_history_round(
    trained_run: Raised, paths: RunPaths
) -> None:
    versions = [version_of(trained_run, paths, n) for n in "ab"]
    for i in range(4):
        set_champion(paths, versions[i % 2], f"run-{i}")
    with sqlite3.connect(paths.home / "mlflow.db") as tables:
        tables.execute("UPDATE model_versions SET creation_time = creation_time - 3600000 WHERE name = ? AND version = 3",
                       (promotion_log.log_name("penguins"),))  # fmt: skip
    log = whole(paths, [])
    assert [e.time for e in log] == sorted(e.time for e in log)
    last = promotion_log.champion_at(log, datetime.now(UTC))
    assert last is not None
    assert last.number == 4


def test_alias_on_a_version_that_is_gone_is_said_with_the_way_out(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second = version_of(trained_run, paths, "a"), version_of(trained_run, paths, "b")
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    client(paths).delete_model_version("penguins", second)  # takes the alias with it
    assert registry.resolve("penguins", paths) is None
    said = promotion_log.reconcile("penguins", paths)
    assert (
        said
        == f"penguins: its champion, version {second}, was deleted: creche rollback penguins --reason …"
    )
    assert promotion_log.rollback("penguins", None, "the other is gone", paths).version == first
    assert registry.champion_version("penguins", paths) == first


def test_entry_deleted_from_the_history_is_noticed(trained_run: Raised, paths: RunPaths) -> None:
    versions = [version_of(trained_run, paths, n) for n in "ab"]
    for i in range(3):
        set_champion(paths, versions[i % 2], f"run-{i}")
    with sqlite3.connect(paths.home / "mlflow.db") as tables:
        tables.execute(
            "DELETE FROM model_versions WHERE name = ? AND version = 2",
            (promotion_log.log_name("penguins"),),
        )
    with pytest.raises(RegistryError, match="penguins promotion log has lost entry 2"):
        promotion_log.reconcile("penguins", paths)
    assert registry.champion_version("penguins", paths) == versions[0]


def test_rollbacks_lead_back_past_overrides_and_never_forth(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second, held, last = (version_of(trained_run, paths, n, v) for n, v in zip("abcd", ("PROMOTE", "PROMOTE", "REJECT", "PROMOTE"), strict=True))  # fmt: skip
    for version, by in ((first, "run-1"), (second, "run-2")):
        set_champion(paths, version, by)
    promotion_log.promote("penguins", held, "an override", paths)
    set_champion(paths, last, "run-3")
    assert [promotion_log.rollback("penguins", None, "bad", paths).version for _ in range(2)] == [
        second,
        first,
    ]
    with pytest.raises(RegistryError, match="none to roll back to"):
        promotion_log.rollback("penguins", None, "bad", paths)
    with pytest.raises(
        RegistryError, match=r"was champion by an override, against its verdict \(REJECT\)"
    ):
        promotion_log.rollback("penguins", held, "bad", paths)
    again = promotion_log.promote("penguins", last, "its verdict was against nobody", paths)
    assert (again.kind, again.overrules) == ("override", "v-d (PROMOTE against none)")


def test_store_that_is_gone_is_not_replaced_by_an_empty_one(
    trained_run: Raised, paths: RunPaths
) -> None:
    set_champion(paths, version_of(trained_run, paths, "a"))
    (paths.home / "mlflow.db").rename(paths.home / "elsewhere.db")
    with pytest.raises(
        RegistryError, match=r"mlflow.db is gone, though models were registered in it"
    ):
        registry.last_verdict("penguins", paths)
    assert not (paths.home / "mlflow.db").exists()


def test_record_of_what_a_model_met_is_checked(trained_run: Raised, paths: RunPaths) -> None:
    version = version_of(trained_run, paths, "a")
    set_champion(paths, version)
    found = registry.resolve("penguins", paths)
    assert found is not None
    kept = found.path.with_suffix(".groups.json")
    kept.write_text('{"split": "s", "groups": []}')  # as if it had met nobody
    again = registry.champion("penguins", paths)
    assert again is not None
    assert again.trained_on == (1,)
    kept.write_text("{")
    for stored in paths.home.rglob("groups.json"):
        stored.write_text("{")
    with pytest.raises(
        RegistryError, match=f"what version {version} of penguins was trained on cannot be read"
    ):
        registry.champion("penguins", paths)


def test_locked_store_is_waited_for(trained_run: Raised, paths: RunPaths) -> None:
    version = version_of(trained_run, paths, "a")
    holder = sqlite3.connect(
        paths.home / "mlflow.db", isolation_level=None, check_same_thread=False
    )
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(8, lambda: holder.execute("COMMIT"))
    timer.start()
    try:
        set_champion(paths, version)
    finally:
        timer.join()
        holder.close()
    assert registry.champion_version("penguins", paths) == version


def test_reader_gets_the_champion_though_a_writer_died_in_its_transaction(
    trained_run: Raised, paths: RunPaths
) -> None:
    version = version_of(trained_run, paths, "a")
    set_champion(paths, version)
    script = (
        "import os, signal, sqlite3, sys\n"
        "tables = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "tables.execute('PRAGMA cache_size = 1')\n"
        "tables.execute('BEGIN IMMEDIATE')\n"
        "tables.execute('UPDATE registered_model_aliases SET version = 99')\n"
        "tables.execute('CREATE TABLE big (x)')\n"
        "tables.executemany('INSERT INTO big VALUES (?)', [('x' * 3000,)] * 3000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    store = paths.home / "mlflow.db"
    subprocess.run([sys.executable, "-c", script, str(store)], check=False)
    assert store.with_name("mlflow.db-journal").stat().st_size > 0
    found = registry.resolve("penguins", paths)
    assert found is not None
    assert found.version == version


def test_store_that_cannot_be_written_is_said_and_the_champion_stays(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second = version_of(trained_run, paths, "a"), version_of(trained_run, paths, "b")
    set_champion(paths, first)
    mount = ["mount", "--bind", str(paths.home), str(paths.home)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(paths.home)], check=True)
        with pytest.raises(RegistryError, match=r"cannot be used .*no change was left incomplete"):
            set_champion(paths, second, "run-2")
        found = registry.resolve("penguins", paths)
        assert found is not None
        assert found.version == first
    finally:
        subprocess.run(["umount", str(paths.home)], check=True)
    whole(paths, [])
    set_champion(paths, second, "run-2")


def test_pruning_leaves_what_reigned_what_scored_and_the_latest(
    trained_run: Raised, paths: RunPaths
) -> None:
    first, second, scored, spare, latest = (version_of(trained_run, paths, n) for n in "abcde")
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    found = registry.resolve("penguins", paths, scored)
    assert found is not None
    told = {"recipe": "penguins", "version": scored, "digest": found.digest, "data_version": "d"}
    counts = {"state": "scored", "rows": 1, "scored": 1, "quarantined": 0, "inputs": []}
    note(paths.root / "out", {"model": told, **counts}, paths)
    assert [v.version for v in prunable_versions("penguins", 0, paths)] == [latest, spare]
    assert [v.version for v in prunable_versions("penguins", 1, paths)] == [spare]
    (gone,) = prunable_versions("penguins", 1, paths)
    stored = [p for p in paths.home.rglob("model.onnx") if sha256_of(p) == gone.digest]
    assert stored
    registry.delete_version(gone, paths)
    assert registry.resolve("penguins", paths, spare) is None
    assert not any(p.exists() for p in [*stored, gone.path])
    for version in (first, second, scored, latest):
        kept = registry.resolve("penguins", paths, version)
        assert kept is not None
        assert sha256_of(kept.path) == kept.digest
    assert prunable_versions("penguins", 1, paths) == []


def test_reproduction_that_differs_names_the_step_and_the_byte(
    trained_run: Raised, paths: RunPaths
) -> None:
    version = version_of(trained_run, paths, "a")  # one more entry of metadata than training makes
    registry.tag_version("penguins", version, "run", "then", paths)
    shutil.copytree(trained_run[1].folder, paths.home / "runs" / "then")
    weights = paths.home / "runs" / "then" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[500] ^= 1
    weights.write_bytes(content)
    found = reproduce(f"penguins@{version}", paths)
    assert found.same is False
    assert found.first_difference == FileDifference("train", WEIGHTS, 500)
    assert found.changed == []
    assert found.agreement == Agreement(110, 110, 0.0)


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
    trained_run: Raised, paths: ProjectPaths, env: dict[str, str], random_kills: int = KILLS
) -> dict[str, int]:
    versions = [version_of(trained_run, paths, n) for n in "ab"]
    set_champion(paths, versions[0])
    digests = {v: registry.resolve("penguins", paths, v).digest for v in versions}  # type: ignore[union-attr]
    read = [sys.executable, str(HERE / "reader.py"), json.dumps(digests)]
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
        log = whole(paths, log)
        if status == 0:
            assert log[-1].version == version
    promoter.process.communicate()
    told = json.loads(reader.communicate("stop\n")[0])
    assert told["violations"] == 0, told
    for version in versions:
        assert Model(registry.cached_model_path(digests[version], paths), digests[version]).verify() == []
    return {
        "kills": kills,
        "done": done,
        "entries": len(log),
        "reads": told["reads"],
        "violations": told["violations"],
    }


def test_promotion_survives_kill_9_at_any_point_on_sqlite(
    trained_run: Raised, paths: RunPaths, capsys: Any
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
    trained_run: Raised, paths: ProjectPaths, capsys: Any
) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "CRECHE_HOME")}
    counts = kill_and_count(trained_run, paths, env, MANY_KILLS)
    with capsys.disabled():
        print(f"\nkill -9 on SQLite: {counts}")
    assert counts["kills"] >= MANY_KILLS + 6
    assert counts["done"] >= MIN_DONE
    assert counts["reads"] > 100


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own; its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    binaries, data = found[-1].parent, folder / "data"
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        for part in (folder, *folder.parents[:3]):
            part.chmod(0o755)
        shutil.chown(folder, "postgres")
    subprocess.run(
        [*user, binaries / "initdb", "-D", data, "-A", "trust", "-U", "creche"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = [
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
    ]
    server = subprocess.Popen(
        [*user, binaries / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL
    )
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql+psycopg2://creche@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], capture_output=True
        )
        server.wait(30)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Mlflow:
    """An MLflow server that can be stopped and started."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder, self.port = store, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--artifacts-destination",
                   str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"]  # fmt: skip
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.log = (self.folder / "server.log").open("a")
        self.process = subprocess.Popen(
            command, env=env, stdout=self.log, stderr=self.log, start_new_session=True
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlflow]:
    folder = tmp_path / "pg"
    folder.mkdir()
    with postgresql(folder) as store:
        server = Mlflow(store, tmp_path)
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        try:
            yield server
        finally:
            server.stop()


def test_promotion_survives_kill_9_on_a_server_over_postgresql(
    trained_run: Raised, paths: RunPaths, server: Mlflow, capsys: Any
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
    time.sleep(5)
    server.start()
    waiting.join(120)
    assert [e.version for e in promoted] == [other]
    whole(paths, [])
