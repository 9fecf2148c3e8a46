"""A model that is trained again, beside the registered one."""

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
    # Its file has one more entry of metadata than training makes.
    version = register_version(trained_run, paths, "a")
    registry.tag_version("penguins", version, "run", "first", paths)
    shutil.copytree(trained_run[1].folder, paths.home / "runs" / "first")
    weights = paths.home / "runs" / "first" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[500] ^= 1
    weights.write_bytes(content)
    reproduction = reproduce(f"penguins@{version}", paths)
    assert reproduction.same is False
    assert reproduction.first_difference == FileDifference("train", WEIGHTS, 500)
    assert reproduction.changed == []
    assert reproduction.agreement == Agreement(110, 110, 0.0)
