"""A recipe is renamed with its versions, champion, promotion log and experiment."""

from pathlib import Path

import pytest
from support.projects import BIRD, call_cli
from support.registry import TrainedRun, register_version, set_champion

from creche import registry
from creche.errors import RegistryError
from creche.operations import registry_checks
from creche.project import ProjectPaths
from creche.registry import promotion_log
from creche.registry.renaming import champions_without_recipe, rename, rename_advice


@pytest.fixture
def paths(project: Path, trained_run: TrainedRun) -> ProjectPaths:
    """The paths of a project with two versions, of which the second is champion."""
    paths = ProjectPaths.find(project)
    for note in ("first", "second"):
        version = register_version(trained_run, paths, note)
        set_champion(paths, version, by=note)
    for run in registry.unfinished_runs(paths):
        registry.mark_killed(run, paths)
    return paths


def test_champion_log_and_scorings_follow_the_name(paths: ProjectPaths) -> None:
    root = paths.root
    out = root / "out"
    scored = call_cli(
        root, "score", "examples/observations.csv", "--recipe", "penguins", "--out", str(out)
    )
    assert scored.returncode == 0, scored.stderr
    log = promotion_log.entries("penguins", paths)
    result = call_cli(root, "rename", "penguins", "palmer penguins")
    assert result.returncode == 0, result.stderr
    assert not (root / "recipes/penguins.yaml").exists()
    assert registry.champion_version("penguins", paths) is None
    assert registry.champion_version("palmer penguins", paths) == "2"
    assert len(registry.list_versions(paths, "palmer penguins")) == 2
    *earlier, last = promotion_log.entries("palmer penguins", paths)
    assert earlier == log
    assert (last.kind, last.version) == ("rename", "2")
    assert "named penguins before" in last.reason
    cells = [f"{name}={value}" for name, value in BIRD.items()]
    assert call_cli(root, "predict", "palmer penguins", *cells).returncode == 0
    traced = call_cli(root, "trace", f"{out}:1")
    assert traced.returncode == 0, traced.stderr
    assert "verdict PROMOTE v-second" in traced.stdout
    impact = call_cli(root, "impact", "--model", "palmer penguins@2")
    assert impact.stdout.endswith("1 scorings, 37 rows\n")
    rolled_back = call_cli(root, "rollback", "palmer penguins", "--reason", "a test")
    assert "palmer penguins@1 is champion" in rolled_back.stdout, rolled_back.stderr


def test_recipe_whose_file_was_renamed_is_advised(paths: ProjectPaths) -> None:
    root = paths.root
    assert rename_advice("penguins", paths) is None
    assert rename_advice("wine-course", paths) is None
    (root / "recipes/penguins.yaml").rename(root / "recipes/birds.yaml")
    assert champions_without_recipe(paths) == ["penguins"]
    advice = rename_advice("birds", paths)
    assert advice is not None
    assert "run `creche rename penguins birds`" in advice
    (issue,) = registry_checks.champions(paths)
    assert issue.remedy == "creche rename penguins NEW"
    assert call_cli(root, "rename", "penguins", "birds").returncode == 0
    assert rename_advice("birds", paths) is None
    assert list(registry_checks.champions(paths)) == []


@pytest.mark.slow
def test_interrupted_rename_is_completed_by_the_same_command(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    for method in ("rename_registered_model", "rename_experiment"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                rename("penguins", "birds", paths)
    rename("penguins", "birds", paths)
    assert registry.champion_version("birds", paths) == "2"
    assert promotion_log.inspect("birds", paths) is None


@pytest.mark.parametrize("is_logged", [False, True])
def test_rename_without_its_log_entry_is_completed_by_the_same_command(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch, is_logged: bool
) -> None:
    """Interrupted before the entry is added, and after it while the file has its old name."""
    if is_logged:
        rename("penguins", "birds", paths)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(promotion_log, "set_champion", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                rename("penguins", "birds", paths)
    with pytest.raises(RegistryError, match="no model named eagles"):
        rename("eagles", "birds", paths)
    result = call_cli(paths.root, "rename", "penguins", "birds")
    assert result.returncode == 0, result.stderr
    assert (paths.root / "recipes/birds.yaml").is_file()
    assert not (paths.root / "recipes/penguins.yaml").exists()
    log = promotion_log.entries("birds", paths)
    assert [entry.kind for entry in log] == ["promotion", "promotion", "rename"]
    assert "named penguins before" in log[-1].reason
    assert registry.champion_version("birds", paths) == "2"
    assert promotion_log.inspect("birds", paths) is None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


MISTAKES = (
    (("penguins", "penguins"), 2, "'penguins' is the name already"),
    (("penguins", "wine-course"), 2, "are both there: keep one of them"),
    (("gone", "other"), 1, "neither "),
    (("wine-course", "wine"), 1, "the store has no model named wine-course"),
    (("penguins", "a'b"), 2, "a name is made of letters"),
)


@pytest.mark.slow
def test_mistake_in_a_rename_changes_nothing(paths: ProjectPaths) -> None:
    for arguments, code, message in MISTAKES:
        result = call_cli(paths.root, "rename", *arguments)
        assert result.returncode == code, result.stderr
        assert message in result.stderr
    assert registry.champion_version("penguins", paths) == "2"


@pytest.mark.slow
def test_name_that_the_store_has_is_refused(paths: ProjectPaths, trained_run: TrainedRun) -> None:
    registry.TrackedRun.start("birds", "run", {}, {}, paths).finish("FAILED")
    with pytest.raises(RegistryError, match=r"an experiment named birds already"):
        rename("penguins", "birds", paths)
    registry.TrackedRun.start("penguins", "live", {}, {}, paths)
    with pytest.raises(RegistryError, match=r"run live of penguins is in progress"):
        rename("penguins", "eagles", paths)
