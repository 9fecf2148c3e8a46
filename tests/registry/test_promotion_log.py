"""The promotion log in a real store: its order, its invariants, and what it refuses."""

import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.registry import TrainedRun, reconciled_log, register_version, set_champion

from creche import registry
from creche.errors import RegistryError, UsageError
from creche.project import ProjectPaths, RunPaths
from creche.provenance import sha256_of
from creche.registry import manual_promotion, promotion_log
from creche.registry.client import open_client


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


def test_log_records_each_champion_with_its_reason(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    rejected = register_version(trained_run, paths, "c", "REJECT")
    set_champion(paths, first, "run-1", verdict_id="v-a", expected=None)
    set_champion(paths, second, "run-2", expected=first)
    manual_promotion.promote("penguins", rejected, "the holdout was mislabelled", paths)
    entry = manual_promotion.rollback("penguins", None, "it was not", paths)
    assert entry.version == second
    manual_promotion.rollback("penguins", first, "two steps back", paths)
    log = reconciled_log(paths, [])
    assert [(e.version, e.kind) for e in log] == [
        (first, "promotion"), (second, "promotion"), (rejected, "override"), (second, "rollback"), (first, "rollback"),
    ]  # fmt: skip
    assert log[2].overrules == "v-c (REJECT against none)"
    assert (log[0].by, log[0].verdict_id, log[2].by) == (
        "run-1",
        "v-a",
        manual_promotion.user_name(),
    )
    at = promotion_log.champion_at(log, log[1].time)
    assert at is not None
    assert at.number == 2
    assert promotion_log.champion_at(log, log[0].time - timedelta(seconds=1)) is None


def test_ineligible_version_does_not_become_champion(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first = register_version(trained_run, paths, "a")
    rejected = register_version(trained_run, paths, "c", "REJECT")
    with pytest.raises(RegistryError, match="has no earlier champion that the gate accepted"):
        manual_promotion.rollback("penguins", None, "x", paths)
    set_champion(paths, first)
    message = (
        rf"version {rejected} of penguins was never champion \(REJECT\).* "
        f"run `creche promote penguins@{rejected}"
    )
    with pytest.raises(RegistryError, match=message):
        manual_promotion.rollback("penguins", rejected, "x", paths)
    message = r"version 9 of penguins was never champion \(no verdict: there is no such version\)"
    with pytest.raises(RegistryError, match=message):
        manual_promotion.rollback("penguins", "9", "x", paths)
    with pytest.raises(UsageError, match="is already champion"):
        manual_promotion.promote("penguins", first, "x", paths)
    with pytest.raises(UsageError, match="--reason: state it"):
        manual_promotion.promote("penguins", rejected, " ", paths)
    with pytest.raises(RegistryError, match="penguins has no version 9"):
        manual_promotion.promote("penguins", "9", "x", paths)
    with pytest.raises(
        RegistryError,
        match=f"changed while version {rejected} was judged: it is now {first}, not None",
    ):
        set_champion(paths, rejected, "run-2", expected=None)
    assert [e.version for e in reconciled_log(paths, [])] == [first]


def test_rollback_to_an_altered_file_is_refused(trained_run: TrainedRun, paths: RunPaths) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    first_version = registry.registered_version("penguins", first, paths)
    assert first_version is not None
    # The cached copy, and the file in the store.
    for file in paths.home.rglob("*.onnx"):
        if sha256_of(file) == first_version.digest:
            file.write_bytes(file.read_bytes().replace(b"Torgersen", b"Torgersem"))
    with pytest.raises(
        RegistryError,
        match=rf"version {first}: its model.onnx cannot be fetched from the store \(its SHA-256",
    ):
        manual_promotion.rollback("penguins", first, "x", paths)
    assert registry.champion_version("penguins", paths) == second


def test_of_two_concurrent_promotions_the_second_is_superseded(
    trained_run: TrainedRun, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (register_version(trained_run, paths, n) for n in "abc")
    set_champion(paths, first)
    original = promotion_log._append

    def promote_another_first(*args: Any, **kwargs: Any) -> promotion_log.PromotionEntry:
        # The slow promotion has read the log, and has not written its entry yet.
        monkeypatch.setattr(promotion_log, "_append", original)
        set_champion(paths, second, "quick")
        return original(*args, **kwargs)

    monkeypatch.setattr(promotion_log, "_append", promote_another_first)
    with pytest.raises(
        RegistryError,
        match=rf"quick made version {second} champion of penguins first .*version {third} is on",
    ):
        set_champion(paths, third, "slow", expected=first)
    log = reconciled_log(paths, [])
    assert [(e.by, e.superseded) for e in log] == [("run", False), ("quick", False), ("slow", True)]
    assert registry.champion_version("penguins", paths) == second


def test_retried_promotion_adds_no_entry(trained_run: TrainedRun, paths: RunPaths) -> None:
    version = register_version(trained_run, paths, "a")
    for _ in range(2):
        assert set_champion(paths, version, expected=None).number == 1


def test_champion_from_before_the_log_gets_an_entry(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    registry.set_champion_alias("penguins", first, paths)
    assert promotion_log.reconcile("penguins", paths) is None
    set_champion(paths, second, expected=first)
    assert [(e.version, e.kind, e.superseded) for e in reconciled_log(paths, [])] == [
        (first, "pre-existing", False),
        (second, "promotion", False),
    ]


def test_entry_times_do_not_decrease_when_the_clock_goes_back(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    versions = [register_version(trained_run, paths, n) for n in "ab"]
    for i in range(4):
        set_champion(paths, versions[i % 2], f"run-{i}")
    with sqlite3.connect(paths.home / "mlflow.db") as tables:
        tables.execute("UPDATE model_versions SET creation_time = creation_time - 3600000 WHERE name = ? AND version = 3",
                       (promotion_log.log_name("penguins"),))  # fmt: skip
    log = reconciled_log(paths, [])
    assert [e.time for e in log] == sorted(e.time for e in log)
    last = promotion_log.champion_at(log, datetime.now(UTC))
    assert last is not None
    assert last.number == 4


def test_deleted_champion_is_reported_with_the_remedy(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    open_client(paths).delete_model_version("penguins", second)  # takes the alias with it
    assert registry.champion("penguins", paths) is None
    message = promotion_log.reconcile("penguins", paths)
    assert message == (
        f"penguins: its champion, version {second}, was deleted: "
        "run `creche rollback penguins --reason …`"
    )
    assert manual_promotion.rollback("penguins", None, "the other is gone", paths).version == first
    assert registry.champion_version("penguins", paths) == first


def test_deleted_entry_is_an_error(trained_run: TrainedRun, paths: RunPaths) -> None:
    versions = [register_version(trained_run, paths, n) for n in "ab"]
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


def test_rollback_skips_overrides_and_never_goes_forward(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    rejected = register_version(trained_run, paths, "c", "REJECT")
    last = register_version(trained_run, paths, "d")
    set_champion(paths, first, "run-1")
    set_champion(paths, second, "run-2")
    manual_promotion.promote("penguins", rejected, "an override", paths)
    set_champion(paths, last, "run-3")
    for expected in (second, first):
        entry = manual_promotion.rollback("penguins", None, "bad", paths)
        assert entry.version == expected
    with pytest.raises(RegistryError, match="none to roll back to"):
        manual_promotion.rollback("penguins", None, "bad", paths)
    with pytest.raises(
        RegistryError, match=r"was champion by an override, against its verdict \(REJECT\)"
    ):
        manual_promotion.rollback("penguins", rejected, "bad", paths)
    again = manual_promotion.promote("penguins", last, "its verdict was against nobody", paths)
    assert (again.kind, again.overrules) == ("override", "v-d (PROMOTE against none)")


def test_lost_store_is_not_replaced_by_an_empty_one(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    set_champion(paths, register_version(trained_run, paths, "a"))
    (paths.home / "mlflow.db").rename(paths.home / "elsewhere.db")
    with pytest.raises(
        RegistryError, match=r"mlflow.db is gone, though models were registered in it"
    ):
        registry.last_judged_run("penguins", paths)
    assert not (paths.home / "mlflow.db").exists()


def test_groups_of_a_version_are_verified_by_digest(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    version = register_version(trained_run, paths, "a")
    set_champion(paths, version)
    resolved = registry.champion("penguins", paths)
    assert resolved is not None
    cached = resolved.path.with_suffix(".groups.json")
    # As if it had been trained on no group.
    cached.write_text('{"split": "s", "groups": []}')
    champion = registry.champion("penguins", paths)
    assert champion is not None
    assert champion.trained_on == (1,)
    cached.write_text("{")
    for stored in paths.home.rglob("groups.json"):
        stored.write_text("{")
    with pytest.raises(
        RegistryError, match=f"what version {version} of penguins was trained on cannot be read"
    ):
        registry.champion("penguins", paths)


def test_locked_store_is_waited_for(trained_run: TrainedRun, paths: RunPaths) -> None:
    version = register_version(trained_run, paths, "a")
    holder = sqlite3.connect(
        paths.home / "mlflow.db", isolation_level=None, check_same_thread=False
    )
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(6, lambda: holder.execute("COMMIT"))
    timer.start()
    try:
        set_champion(paths, version)
    finally:
        timer.join()
        holder.close()
    assert registry.champion_version("penguins", paths) == version


def test_incomplete_transaction_of_a_killed_writer_is_rolled_back(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    version = register_version(trained_run, paths, "a")
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
    champion = registry.champion("penguins", paths)
    assert champion is not None
    assert champion.version == version


def test_read_only_store_keeps_its_champion(trained_run: TrainedRun, paths: RunPaths) -> None:
    first = register_version(trained_run, paths, "a")
    second = register_version(trained_run, paths, "b")
    set_champion(paths, first)
    mount = ["mount", "--bind", str(paths.home), str(paths.home)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(paths.home)], check=True)
        with pytest.raises(RegistryError, match=r"cannot be used .*run the command again"):
            set_champion(paths, second, "run-2")
        champion = registry.champion("penguins", paths)
        assert champion is not None
        assert champion.version == first
    finally:
        subprocess.run(["umount", str(paths.home)], check=True)
    reconciled_log(paths, [])
    set_champion(paths, second, "run-2")
