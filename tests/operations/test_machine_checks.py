"""The checks of `creche doctor` that need no server, each on a real fault."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from creche.operations import machine_checks
from creche.pipeline.pull import pull
from creche.project import ProjectPaths
from creche.recipe import DataSpec


def test_full_disk_is_an_issue_that_names_the_largest_folders(
    project: Path, tmp_path: Path
) -> None:
    in_namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    has_unshare = shutil.which("unshare") is not None
    if (
        not has_unshare
        or subprocess.run(
            [*in_namespace, "mount -t tmpfs tmpfs /mnt"], capture_output=True
        ).returncode
    ):
        pytest.skip("no right to mount a small disk")
    script = (
        f"mount -t tmpfs -o size=64m tmpfs {tmp_path} && mkdir {tmp_path}/runs && "
        f"head -c 9000000 /dev/zero > {tmp_path}/runs/big && "
        f"CRECHE_HOME={tmp_path} {sys.executable} -m creche.cli doctor"
    )
    result = subprocess.run(
        [*in_namespace, script],
        cwd=project,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "are free; the largest in" in result.stdout
    assert "runs 9.0 MB" in result.stdout
    assert "remedy: creche prune --keep 20 --days 90 --yes" in result.stdout


def test_library_of_another_version_than_the_pinned_one_is_an_issue(project: Path) -> None:
    (project / "requirements.lock").write_text("dvc==1.0 \\\n    --hash=sha256:0\npsutil==1.0\n")
    (issue,) = machine_checks.library_versions(ProjectPaths.find())
    assert issue.message.startswith("dvc is ")
    assert issue.message.endswith(", and 1.0 in requirements.lock")


def test_data_in_neither_remote_nor_cache_are_lost(project: Path) -> None:
    shutil.rmtree(project / "dvc-remote/files/md5/41")
    (issue,) = machine_checks.data(ProjectPaths.find())
    assert issue.message.startswith(
        "1 objects of data.dvc are not in the remote, 1 not in this machine's DVC cache either"
    )


def test_remedy_of_a_missing_remote_adds_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(DataSpec(path="data/penguins.csv"), ProjectPaths.find())
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (issue,) = machine_checks.data(ProjectPaths.find())
    assert "no other machine can pull what data.dvc tracks" in issue.message
    remedy = issue.remedy.replace("FOLDER_OR_URL", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    subprocess.run(["sh", "-c", remedy], check=True, capture_output=True)
    assert list(machine_checks.data(ProjectPaths.find())) == []


def test_lock_in_use_is_no_issue(project: Path) -> None:
    folder = project / ".dvc/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "rwlock"
    table.write_text(json.dumps({"read": {"data": [{"pid": os.getpid(), "cmd": "dvc push"}]}}))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(machine_checks.locks(ProjectPaths.find())) == []
    table.write_text('{"write": {')
    (issue,) = machine_checks.locks(ProjectPaths.find())
    assert issue.fix is not None
    issue.fix()
    assert list(machine_checks.locks(ProjectPaths.find())) == []
