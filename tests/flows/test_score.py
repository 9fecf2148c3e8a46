"""The score flow against a real Prefect server."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.projects import ROOT, new_project, run_cli

from creche.project import MANIFEST, read_json, write_json
from creche.provenance import sha256_of

Server = dict[str, str]

SCRIPT = """
import json, sys
from flows.score import score
state = score(*json.loads(sys.argv[1]), return_state=True)
print(json.dumps([state.name, state.message]))
"""


@pytest.fixture(scope="module")
def reigning(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> Path:
    root = new_project(tmp_path_factory.mktemp("scoring") / "project")
    assert run_cli(root, "retrain", "penguins", **prefect_server).returncode == 0
    return root


def scored(project: Path, server: Server, *arguments: object) -> tuple[str, str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments)]
    env = {**os.environ, **server}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    name, message = json.loads(done.stdout.splitlines()[-1])
    return name, message


def artifact(server: Server, key: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{server['PREFECT_API_URL']}/artifacts/{key}/latest") as answer:
        found: dict[str, str] = json.load(answer)
    return found


def test_operator_sees_what_became_of_a_batch(reigning: Path, prefect_server: Server) -> None:
    name, message = scored(
        reigning, prefect_server, ["examples/observations.csv"], "penguins", "out"
    )
    assert name == "Scored"
    assert message.startswith("37 of 40 rows scored with penguins version 1 (")
    assert read_json(reigning / "out" / MANIFEST)["scored"] == 37
    assert (
        "quarantined: 1 × body_mass_g: below 2000 g"
        in artifact(prefect_server, "score-penguins")["data"]
    )
    assert {"reason": "scored", "rows": 37} in json.loads(
        artifact(prefect_server, "scored-penguins")["data"]
    )
    assert float(artifact(prefect_server, "progress-penguins")["data"]) == 100.0
    done = run_cli(reigning, "impact", "--model", "penguins@1")
    assert done.stdout.endswith("1 scorings, 37 rows\n")
    done = run_cli(reigning, "trace", "out:Ring=2026-001")
    assert "bit for bit" in done.stdout
    assert "verdict PROMOTE" in done.stdout


def test_refused_batch_is_told_apart_from_a_failed_one(
    reigning: Path, prefect_server: Server
) -> None:
    (reigning / "bad.csv").write_text(
        (ROOT / "examples/observations.csv").read_text().replace("Dream", "Signy")
    )
    shutil.copy(reigning / "bad.csv", reigning / "worse.csv")
    (reigning / "worse.csv").write_text(
        (reigning / "worse.csv").read_text().replace("Biscoe", "Signy")
    )
    name, message = scored(reigning, prefect_server, ["worse.csv"], "penguins", "refused")
    assert name == "Quarantined"
    assert "island: not one of Biscoe, Dream, Torgersen" in message
    name, message = scored(reigning, prefect_server, ["nowhere.csv"], "penguins", "failed")
    assert (name, message) == ("Failed", "nowhere.csv: no such file")


def test_manifest_of_another_format_fails_the_batch(reigning: Path, prefect_server: Server) -> None:
    inbox = reigning / "var/inbox/penguins"
    for folder in ("done", "refused"):
        (inbox / folder).mkdir(parents=True)
    batch = inbox / "monday.csv"
    shutil.copy(ROOT / "examples/observations.csv", batch)
    digest = sha256_of(batch)
    earlier = inbox / f"scored/sunday-{digest[:12]}" / MANIFEST
    earlier.parent.mkdir(parents=True)
    write_json(earlier, {"engine": "0.0.1", "format": 1})
    out = str(inbox / f"scored/monday-{digest[:12]}")
    arguments = ([str(batch)], "penguins", out, "parquet", None, digest)
    name, message = scored(reigning, prefect_server, *arguments)
    assert name == "Failed"
    assert "manifest format 1" in message
    assert "manifest format 1" in (inbox / "refused/monday.csv.reason.txt").read_text()
    assert not batch.exists()
