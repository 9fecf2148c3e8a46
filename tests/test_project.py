"""The project's folder and its paths."""

from pathlib import Path

from creche.project import ProjectPaths


def test_project_is_found_from_the_working_directory(project: Path) -> None:
    assert ProjectPaths.find().root == project
