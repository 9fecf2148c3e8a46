"""A project whose folder was moved or copied, with the embedded store in it."""

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from support.projects import BIRD, call_cli

from creche import registry
from creche.operations import registry_checks
from creche.project import ProjectPaths
from creche.registry import artifact_locations
from creche.registry.client import open_client


@pytest.fixture
def moved_project(champion_project: Path, tmp_path: Path) -> Path:
    """A project with a champion in another folder than where its runs were.

    Both names have characters that an address has to encode.
    """
    before = tmp_path / "where it was"
    shutil.copytree(champion_project, before)
    paths = ProjectPaths.find(before)
    artifact_locations.relocate(artifact_locations.find_moved(paths), paths)
    return Path(shutil.move(before, tmp_path / "another place ä"))


def predict_through_mlflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/var/mlflow.db")
    bird = pd.DataFrame([{name: BIRD[name] for name in BIRD}])
    labels: list[str] = mlflow.pyfunc.load_model("models:/penguins@champion").predict(bird)["label"]
    return list(labels)


def test_doctor_finds_and_fixes_the_addresses(
    moved_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ProjectPaths.find(moved_project)
    (issue,) = registry_checks.artifacts(paths)
    assert "where%20it%20was" in issue.message
    assert issue.remedy == "creche doctor --fix"
    with pytest.raises(Exception, match=r"No such artifact|No such file"):
        predict_through_mlflow(moved_project, monkeypatch)
    assert issue.fix is not None
    issue.fix()
    assert list(registry_checks.artifacts(paths)) == []
    assert predict_through_mlflow(moved_project, monkeypatch) == ["Chinstrap"]


def test_new_run_writes_into_the_project_where_it_is(moved_project: Path) -> None:
    paths = ProjectPaths.find(moved_project)
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    uri = open_client(paths).get_run(run.mlflow_run_id).info.artifact_uri
    assert uri.startswith((moved_project / "var" / "artifacts" / "penguins").as_uri())
    run.finish("FINISHED")


def test_model_that_is_not_cached_is_fetched(moved_project: Path) -> None:
    paths = ProjectPaths.find(moved_project)
    for file in (paths.home / "models").iterdir():
        file.unlink()
    (paths.home / "models" / "keep").touch()
    assert registry.find_version("penguins@1", paths).path.is_file()


def test_project_that_was_not_moved_has_no_issue(champion_project: Path) -> None:
    assert list(registry_checks.artifacts(ProjectPaths.find(champion_project))) == []


def test_copied_project_leaves_the_original_alone(champion_project: Path, tmp_path: Path) -> None:
    """Its store names folders that exist, but they are another project's."""
    root = tmp_path / "copy"
    shutil.copytree(champion_project, root)
    paths = ProjectPaths.find(root)
    assert len(list(registry_checks.artifacts(paths))) == 1
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    assert open_client(paths).get_run(run.mlflow_run_id).info.artifact_uri.startswith(root.as_uri())
    run.finish("FINISHED")
    assert list(registry_checks.artifacts(ProjectPaths.find(champion_project))) == []


@pytest.mark.slow
def test_files_of_a_renamed_recipe_are_found_after_a_move(
    champion_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "before"
    shutil.copytree(champion_project, before)
    paths = ProjectPaths.find(before)
    artifact_locations.relocate(artifact_locations.find_moved(paths), paths)
    renamed = call_cli(before, "rename", "penguins", "birds")
    assert renamed.returncode == 0, renamed.stderr
    after = Path(shutil.move(before, tmp_path / "after"))
    (issue,) = registry_checks.artifacts(ProjectPaths.find(after))
    assert issue.fix is not None
    issue.fix()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{after}/var/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/birds@champion")
    assert list(model.predict(pd.DataFrame([BIRD]))["label"]) == ["Chinstrap"]
