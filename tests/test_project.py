"""The project's folder and its paths."""

import subprocess
from pathlib import Path

import pytest
from support.projects import git_changes

from creche.errors import CrecheError
from creche.pipeline import run_step
from creche.project import ProjectPaths
from creche.recipe import load


def test_project_is_found_from_the_working_directory(project: Path) -> None:
    assert ProjectPaths.find().root == project


def test_git_ignores_the_home_of_an_own_project(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    run_step("pull", load("penguins", project), ProjectPaths.find().run("first"))
    assert (project / "var/runs/first/source.json").is_file()
    status = git_changes(project)
    assert "recipes/penguins.yaml" in status
    assert " var/" not in status


def test_folder_that_was_there_before_keeps_its_files_in_git(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "new"):
        monkeypatch.setenv("CRECHE_HOME", str(tmp_path / name))
        if name == "own":
            (tmp_path / name).mkdir()
        ProjectPaths.find().create_home()
    assert not (tmp_path / "own/.gitignore").exists()
    assert (tmp_path / "new/.gitignore").read_text() == "*\n"


def test_home_that_cannot_be_created_is_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "file").write_text("")
    monkeypatch.setenv("CRECHE_HOME", str(project / "file/home"))
    with pytest.raises(CrecheError, match=r"cannot be created.*set CRECHE_HOME"):
        ProjectPaths.find().create_home()
