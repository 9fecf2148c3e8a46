"""deploy/prefect.yaml with Prefect's own commands, without `creche up`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.projects import ROOT

from creche.project import MANIFEST, read_json

Server = dict[str, str]
RUN_ONE = (
    "worker",
    "start",
    "--pool",
    "cpu",
    "--type",
    "process",
    "--install-policy",
    "never",
    "--run-once",
)


def prefect(project: Path, server: Server, *arguments: str) -> None:
    env = {**os.environ, **server, "CRECHE_ROOT": str(project)}
    env["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT}"
    env.pop("PYTHONWARNINGS", None)
    result = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_deployment_runs_on_a_worker_as_it_does_manually(
    project: Path, prefect_server: Server
) -> None:
    for name in ("deploy",):
        shutil.copytree(ROOT / name, project / name)
    for pool in ("cpu", "gpu"):
        create = ("work-pool", "create", pool, "--type", "process", "--overwrite")
        prefect(project, prefect_server, *create)
    # Applied a second time it changes nothing.
    for _ in range(2):
        prefect(project, prefect_server, "deploy", "--all", "--prefect-file", "deploy/prefect.yaml")

    prefect(project, prefect_server, "deployment", "run", "retrain/penguins")
    prefect(project, prefect_server, *RUN_ONE)
    runs = [json.loads(file.read_text()) for file in project.glob("var/runs/*/run.json")]
    assert [(run["recipe"], run["trigger"], run["state"]) for run in runs] == [
        ("penguins", "schedule", "Promoted")
    ]

    batch = project / "examples/observations.csv"
    predictions = project / "scored"
    parameters = ("--param", f'files=["{batch}"]', "--param", f"out={predictions}")
    prefect(project, prefect_server, "deployment", "run", "score/penguins", *parameters)
    prefect(project, prefect_server, *RUN_ONE)
    assert read_json(predictions / MANIFEST)["rows"] == 40
    # Other tests on the same server would see the scheduled runs.
    prefect(project, prefect_server, "deployment", "delete", "--all")
