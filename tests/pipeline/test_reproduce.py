"""A model that is trained again, beside the one on record."""

import shutil
from pathlib import Path

import pytest
from support.registry import TrainedRun, register_version

from creche import registry
from creche.pipeline.reproduce import Agreement, FileDifference, reproduce
from creche.project import WEIGHTS, ProjectPaths, RunPaths


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


def test_reproduction_names_the_first_different_byte(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    version = register_version(
        trained_run, paths, "a"
    )  # one more entry of metadata than training makes
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
