"""Real projects in temporary folders: the repository's own recipes, data pointer and DVC remote."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WINE = ROOT.parent / "shared" / "data" / "winequality-red.csv"
# data/penguins.csv as DVC names it, by its MD5
PENGUINS = ROOT / "dvc-remote/files/md5/41/6d54adb83e9c38da7a3f3357f74a3e"
BIRD = {
    "island": "Dream",
    "bill_length_mm": "50.4",
    "bill_depth_mm": "15.3",
    "flipper_length_mm": "200",
    "body_mass_g": "5000",
}
# What a developer has set must not leak into a test's processes.
UNSET = ("CRECHE_HOME", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PYTHONWARNINGS")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def new_project(root: Path) -> Path:
    """Create a project like a fresh clone, without git."""
    not_copied = shutil.ignore_patterns("cache", "tmp", "config.local")
    for name in ("recipes", "dvc-remote", ".dvc", "examples"):
        shutil.copytree(ROOT / name, root / name, ignore=not_copied)
    for name in ("data.dvc", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    edit(root / ".dvc" / "config", "[core]", "[core]\n    no_scm = true")
    return root


def git_changes(project: Path) -> str:
    """Return what `git status` lists, each file that git does not track included."""
    return subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def run_cli(project: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `creche …` as a user types it, in the project."""
    command = [sys.executable, "-m", "creche.cli", *map(str, arguments)]
    clean = {key: value for key, value in os.environ.items() if key not in UNSET}
    return subprocess.run(
        command,
        cwd=project,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def call_cli(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `creche …` in this process, which takes a tenth of the time of one of its own."""
    from creche.cli.main import main

    command = [*map(str, arguments)]
    stdout, stderr = StringIO(), StringIO()
    with chdir(project), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            code: Any = main(command)
        except SystemExit as error:
            code = error.code
    return subprocess.CompletedProcess(command, code, stdout.getvalue(), stderr.getvalue())


def edit(path: Path, old: str, new: str) -> str:
    """Replace a text in a file; fail where it is not there. Returns the content before."""
    content = path.read_text(encoding="utf-8")
    if old not in content:
        raise AssertionError(f"{path} does not contain {old!r}, so nothing would change")
    path.write_text(content.replace(old, new), encoding="utf-8")
    return content
