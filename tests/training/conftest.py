"""A project whose run is ready for the train step."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.training import PrepareRun

from creche.pipeline import run_step
from creche.project import ProjectPaths, RunPaths
from creche.recipe import Recipe, load


@pytest.fixture
def prepare_run(project: Path) -> PrepareRun:
    """Change the training section of the penguins recipe, and run the steps before train."""

    def prepare(**changes: Any) -> tuple[Recipe, RunPaths]:
        path = project / "recipes" / "penguins.yaml"
        content = yaml.safe_load(path.read_text())
        content["training"] |= changes
        path.write_text(yaml.safe_dump(content))
        recipe = load("penguins", project)
        paths = ProjectPaths.find(project).at(project / "run")
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, paths)
        return recipe, paths

    return prepare
