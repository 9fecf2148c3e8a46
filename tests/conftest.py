"""Real projects in temporary folders: the repository's own recipes, data pointer and DVC remote, nothing faked."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from creche.pipeline import STEPS, run_step
from creche.project import ProjectPaths
from creche.recipe import Recipe, load

ROOT = Path(__file__).parents[1]
WINE = ROOT.parent / "shared" / "data" / "winequality-red.csv"
PENGUINS = (
    ROOT / "dvc-remote/files/md5/41/6d54adb83e9c38da7a3f3357f74a3e"
)  # data/penguins.csv, by its md5
BIRD = {
    "island": "Dream",
    "bill_length_mm": "50.4",
    "bill_depth_mm": "15.3",
    "flipper_length_mm": "200",
    "body_mass_g": "5000",
}

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def new_project(root: Path) -> Path:
    """A project like a fresh clone, without git."""
    for name in ("recipes", "dvc-remote", ".dvc", "examples"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("cache", "tmp", "config.local")
        )
    for name in ("data.dvc", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("[core]", "[core]\n    no_scm = true"))
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, entered."""
    root = new_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.delenv("CRECHE_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


@pytest.fixture(scope="session")
def trained_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Recipe, ProjectPaths, dict[str, dict[str, Any]]]:
    """The penguins recipe through every step up to the verdict, with what each step returned."""
    root = new_project(tmp_path_factory.mktemp("trained") / "project")
    paths = ProjectPaths.find(root / "run", start=root)
    recipe = load("penguins", root)
    return recipe, paths, {step: run_step(step, recipe, paths) for step in STEPS[:-1]}


@pytest.fixture
def cli(project: Path) -> Cli:
    """`creche …` as a user types it, in the project."""
    return lambda *words, **options: run_cli(project, *words, **options)


def run_cli(project: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "creche.cli", *map(str, words)]
    unset = ("CRECHE_HOME", "MLFLOW_TRACKING_URI", "PYTHONWARNINGS")
    clean = {k: v for k, v in os.environ.items() if k not in unset}
    return subprocess.run(
        command, cwd=project, env={**clean, **env}, capture_output=True, text=True, timeout=300
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Prefect server on loopback; the environment that points at it."""
    home = tmp_path_factory.mktemp("prefect")
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
    }
    env = {
        **os.environ,
        **quiet,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_UI_API_URL": url,
    }
    log = (home / "server.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start"], env=env, stdout=log, stderr=log
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url + "/ready", timeout=2).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError((home / "server.log").read_text()) from None
                time.sleep(0.5)
        yield {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
    finally:
        server.terminate()
        server.wait(30)
        log.close()
