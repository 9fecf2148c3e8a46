import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.projects import ROOT

from creche.project import MANIFEST, read_json

Server = dict[str, str]


def prefect(project: Path, server: Server, *words: str) -> str:
    env = {**os.environ, **server, "CRECHE_ROOT": str(project), "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONWARNINGS", None)
    command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
    done = subprocess.run(
        command,
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_deployment_runs_on_a_worker_as_it_does_by_hand(
    project: Path, prefect_server: Server
) -> None:
    for name in ("flows", "deploy"):
        shutil.copytree(ROOT / name, project / name)
    for pool in ("cpu", "gpu"):
        prefect(
            project, prefect_server, "work-pool", "create", pool, "--type", "process", "--overwrite"
        )
    for _ in range(2):  # applying it again changes nothing
        prefect(project, prefect_server, "deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
    prefect(project, prefect_server, "deployment", "run", "retrain/penguins")
    prefect(
        project, prefect_server, "worker", "start", "--pool", "cpu", "--type", "process", "--install-policy", "never",
        "--run-once",
    )  # fmt: skip
    runs = [json.loads(f.read_text()) for f in project.glob("var/runs/*/run.json")]
    assert [(r["recipe"], r["trigger"], r["state"]) for r in runs] == [
        ("penguins", "schedule", "Promoted")
    ]
    batch, out = project / "examples/observations.csv", project / "scored"
    prefect(
        project,
        prefect_server,
        "deployment",
        "run",
        "score/penguins",
        "--param",
        f'files=["{batch}"]',
        "--param",
        f"out={out}",
    )
    prefect(
        project, prefect_server, "worker", "start", "--pool", "cpu", "--type", "process", "--install-policy", "never",
        "--run-once",
    )  # fmt: skip
    assert read_json(out / MANIFEST)["rows"] == 40
    prefect(
        project, prefect_server, "deployment", "delete", "--all"
    )  # with the nights to come, which other tests would see
