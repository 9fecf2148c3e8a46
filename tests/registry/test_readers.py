"""Both readers of MLflow's store give the same: the one of SQLite tables, and the one by MLflow's
client.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from support.mlflow_server import MlflowServer

from creche import registry
from creche.errors import NotInStoreError, RegistryError, StoreError
from creche.project import ProjectPaths
from creche.registry import promotion_log
from creche.registry.client import mlflow_client, open_client
from creche.registry.client_reader import ClientReader
from creche.registry.reader import StoreReader
from creche.registry.sqlite_reader import SqliteReader


def fill(paths: ProjectPaths, recipe: str) -> None:
    """Leave versions, a deleted one, promotions, and runs in each state."""
    for number in ("1", "2", "3", "4"):
        tags = {"digest": f"d{number}", "run": f"run-{number}"} if number != "3" else {}
        registry.create_version(recipe, f"s3://bucket/{number}", tags, paths)
    for number in ("1", "2"):
        promotion_log.set_champion(recipe, number, paths, "promotion", "better", f"run-{number}")
    open_client(paths).delete_model_version(recipe, "4")
    for number, status in enumerate(("FINISHED", "FAILED", "FINISHED", "KILLED", "RUNNING")):
        run = registry.TrackedRun.start(recipe, f"run-{number}", {"a": 1}, {"run": "r"}, paths)
        if number != 2:
            run.set_tag("verdict", "REJECT")
        if status != "RUNNING":
            run.finish(status)  # type: ignore[arg-type]
    deleted = registry.TrackedRun.start(recipe, "deleted", {}, {}, paths)
    open_client(paths).delete_run(deleted.mlflow_run_id)


def reads(reader: StoreReader, recipe: str) -> dict[str, object]:
    log = promotion_log.log_name(recipe)
    return {
        "versions": reader.versions(recipe),
        "log": reader.versions(log),
        "all": reader.versions(),
        "none": reader.versions("no such model"),
        "champion": reader.champion_version(recipe),
        "no champion": reader.champion_version("no such model"),
        "tags": [reader.version_tags(recipe, n) for n in ("1", "2", "3", "4", "9")],
        "last": reader.last_judged_run(recipe),
        "no run": reader.last_judged_run("no such recipe"),
        "running": reader.running_runs(),
    }


def test_value_that_mlflow_refuses_is_absent_only_from_a_read(project: Path) -> None:
    paths = ProjectPaths.find(project)
    with pytest.raises(NotInStoreError), mlflow_client(paths, for_reading=True) as client:
        client.get_model_version("penguins", "not a number")
    with pytest.raises(StoreError), mlflow_client(paths) as client:
        client.create_registered_model("")


def test_sqlite_tables_give_what_mlflow_gives(project: Path) -> None:
    paths = ProjectPaths.find(project)
    fill(paths, "penguins")
    fill(paths, "penguins-lab")
    for recipe in ("penguins", "penguins-lab"):
        by_client = reads(ClientReader(paths), recipe)
        assert reads(SqliteReader(paths.home / "mlflow.db"), recipe) == by_client
        assert by_client["champion"] == "2"
    assert [run.name for run in registry.unfinished_runs(paths)] == ["run-4", "run-4"]


@pytest.mark.xdist_group("postgresql")
def test_server_gives_what_sqlite_gives(project: Path, server: MlflowServer) -> None:
    paths = ProjectPaths.find(project)
    fill(paths, "parity")
    reader = ClientReader(paths)
    assert [v.version for v in reader.versions("parity")] == [1, 2, 3]
    assert reader.champion_version("parity") == "2"
    last = registry.last_judged_run("parity", paths)
    assert last is not None
    assert (last.run_id, last.verdict) == ("r", "REJECT")
    log = promotion_log.entries("parity", paths)
    assert [(e.version, e.applied, e.superseded) for e in log] == [
        ("1", True, False),
        ("2", True, False),
    ]
    assert [r.name for r in registry.unfinished_runs(paths) if r.recipe == "parity"] == ["run-4"]


def test_reads_of_a_sqlite_store_do_not_import_mlflow(project: Path) -> None:
    paths = ProjectPaths.find(project)
    fill(paths, "penguins")
    script = (
        "import sys\n"
        "from creche import registry\n"
        "from creche.project import ProjectPaths\n"
        "from creche.registry import promotion_log\n"
        "paths = ProjectPaths.find()\n"
        "assert promotion_log.reconcile('penguins', paths) is None\n"
        "assert promotion_log.inspect('penguins', paths) is None\n"
        "assert len(promotion_log.entries('penguins', paths)) == 2\n"
        "assert len(registry.list_versions(paths, 'penguins')) == 3\n"
        "assert registry.last_judged_run('penguins', paths)\n"
        "assert registry.unfinished_runs(paths)\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=paths.root, check=True)


def test_store_without_tables_is_empty(project: Path) -> None:
    paths = ProjectPaths.find(project)
    assert registry.list_versions(paths) == []
    assert promotion_log.entries("penguins", paths) == []
    assert registry.unfinished_runs(paths) == []
    assert not (paths.home / "mlflow.db").exists()


@pytest.mark.parametrize("name", ["a' x", "x' OR name LIKE '%", 'a"b', "a\nb", ""])
def test_name_that_no_recipe_can_have_is_refused_before_the_store_is_read(
    project: Path, name: str
) -> None:
    paths = ProjectPaths.find(project)
    with pytest.raises(RegistryError, match="is no name of a recipe: name one with letters"):
        registry.list_versions(paths, name)
    with pytest.raises(RegistryError, match="is no name of a recipe"):
        registry.champion_version(name, paths)
    with pytest.raises(RegistryError, match="is no name of a recipe"):
        registry.find_version(f"{name}@1", paths)
