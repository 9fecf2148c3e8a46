"""Fixtures for all tests: nothing that the project exists to drive is faked."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.image_recipes import PrepareImages, run_steps
from support.image_recipes import prepare_images as prepare_images_in
from support.processes import prefect_server as running_prefect_server
from support.projects import UNSET, Cli, new_project, run_cli

from creche.api.project import Project
from creche.pipeline import STEPS, run_step
from creche.project import ProjectPaths, RunPaths
from creche.recipe import Recipe, load


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Unset what a developer may have set: no test writes into a store or a server of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in UNSET:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the working directory."""
    root = new_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def trained_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Recipe, RunPaths, dict[str, Any]]:
    """The penguins recipe through every step up to the verdict, with what each step returned."""
    root = new_project(tmp_path_factory.mktemp("trained") / "project")
    paths = ProjectPaths.find(root).at(root / "run")
    recipe = load("penguins", root)
    return recipe, paths, {step: run_step(step, recipe, paths) for step in STEPS[:-1]}


@pytest.fixture(scope="session")
def champion_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion; tests read it, and may run an unchanged recipe again."""
    root = new_project(tmp_path_factory.mktemp("champion") / "project")
    assert Project(root).retrain("penguins").state == "Promoted"
    return root


@pytest.fixture
def prepare_images(project: Path) -> PrepareImages:
    """Write the recipe of small images; see `support.image_recipes.prepare_images`."""
    return partial(prepare_images_in, project)


@pytest.fixture(scope="session")
def trained_image_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunPaths]:
    """The recipe of small images through every step up to the verdict."""
    root = new_project(tmp_path_factory.mktemp("images") / "project")
    recipe, paths = prepare_images_in(root)
    run_steps(recipe, paths, *STEPS[:-1])
    return recipe, paths


@pytest.fixture
def cli(project: Path) -> Cli:
    """`creche …` as a user types it, in the project."""
    return lambda *arguments, **env: run_cli(project, *arguments, **env)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Prefect server on loopback; the environment that points at it."""
    with running_prefect_server(tmp_path_factory.mktemp("prefect")) as environment:
        yield environment
