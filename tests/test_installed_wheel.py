"""What a user has who installs the wheel: a folder of her own, without a checkout, git or DVC."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.processes import starting_services
from support.projects import PENGUINS, ROOT, UNSET

from creche.project import RUN, read_json
from creche.provenance import md5_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    uv = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    subprocess.run([uv, "build", "--wheel", "-o", folder / "dist", ROOT], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    command = [uv, "pip", "install", "--no-deps", "--python", sys.executable, "--target", target]
    subprocess.run([*command, wheel], check=True)
    return target


@pytest.fixture
def own_project(tmp_path: Path) -> Path:
    """A recipe, and its table by its MD5."""
    project = tmp_path / "birds"
    (project / "recipes").mkdir(parents=True)
    shutil.copy(PENGUINS, project / "birds.csv")
    recipe = yaml.safe_load((ROOT / "recipes/penguins.yaml").read_text())
    recipe["data"] = {"path": "birds.csv", "md5": md5_of(PENGUINS)}
    (project / "recipes/birds.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return project


def test_project_of_ones_own_is_trained_served_and_scored(
    site_packages: Path, own_project: Path
) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in UNSET}

    def creche(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "creche.cli", *arguments],
            cwd=own_project,
            env={**clean, "PYTHONPATH": str(site_packages)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    where = subprocess.run(
        [sys.executable, "-c", "import creche; print(creche.__file__)"],
        cwd=own_project,
        env={**clean, "PYTHONPATH": str(site_packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site_packages))
    result = creche("retrain", "birds")
    assert result.stdout.startswith("PROMOTED"), result.stderr
    with starting_services():
        result = creche("up", "--detach", "--pool", "cpu")
    try:
        assert result.returncode == 0, result.stderr
        assert "deploy/prefect.yaml is new" in result.stderr
        result = creche("submit", "birds")
        assert result.stdout.startswith("UNCHANGED"), result.stdout + result.stderr
        runs = [read_json(path) for path in own_project.glob(f"var/runs/*/{RUN}")]
        assert sorted(run["state"] for run in runs) == ["Promoted", "Unchanged"]
    finally:
        assert creche("down", "--now").returncode == 0
    result = creche("score", "birds.csv", "--recipe", "birds", "--out", "predictions")
    assert result.returncode == 0, result.stderr
