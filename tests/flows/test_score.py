"""The score flow against a real Prefect server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.prefect_api import Server, latest_artifact
from support.projects import call_cli, edit

from creche.operations.inbox_folder import digest
from creche.project import MANIFEST, read_json, write_json
from creche.provenance import sha256_of

SCRIPT = """
import json, sys
from creche.flows.score import score
states = [score(*arguments, return_state=True) for arguments in json.loads(sys.argv[1])]
print(json.dumps([[state.name, state.message] for state in states]))
"""


def score_in_flows(
    project: Path, server: Server, *scorings: tuple[list[str], str, str]
) -> list[tuple[str, str]]:
    """Run the score flow once for each (files, recipe, out), in one process of its own.

    Returns:
        The name and the message of each flow run's state.
    """
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(scorings)],
        cwd=project,
        env={**os.environ, **server},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    return [(name, message) for name, message in json.loads(result.stdout.splitlines()[-1])]


@pytest.fixture
def scored_project(champion_project: Path, tmp_path: Path) -> Path:
    """A copy of the champion's project without earlier scorings."""
    return shutil.copytree(
        champion_project, tmp_path / "project", ignore=shutil.ignore_patterns("scorings.jsonl")
    )


def test_scored_batch_is_shown_on_prefect_and_in_the_lineage(
    scored_project: Path, prefect_server: Server
) -> None:
    scoring = (["examples/observations.csv"], "penguins", "out")
    [(name, message)] = score_in_flows(scored_project, prefect_server, scoring)
    assert name == "Scored"
    assert message.startswith("37 of 40 rows scored with penguins version 1 (")
    assert read_json(scored_project / "out" / MANIFEST)["scored"] == 37
    page = latest_artifact(prefect_server, "score-penguins")["data"]
    assert "quarantined: 1 × body_mass_g: below 2000 g" in page
    counts = json.loads(latest_artifact(prefect_server, "scored-penguins")["data"])
    assert {"reason": "scored", "rows": 37} in counts
    assert float(latest_artifact(prefect_server, "progress-penguins")["data"]) == 100.0
    result = call_cli(scored_project, "impact", "--model", "penguins@1")
    assert result.stdout.endswith("1 scorings, 37 rows\n")
    result = call_cli(scored_project, "trace", "out:Ring=2026-001")
    assert "bit for bit" in result.stdout
    assert "verdict PROMOTE" in result.stdout


def test_refused_batch_has_another_state_than_a_failed_one(
    scored_project: Path, prefect_server: Server
) -> None:
    bad = shutil.copy(scored_project / "examples" / "observations.csv", scored_project / "bad.csv")
    edit(Path(bad), "Dream", "Signy")
    edit(Path(bad), "Biscoe", "Signy")
    refused, failed = score_in_flows(
        scored_project,
        prefect_server,
        (["bad.csv"], "penguins", "refused"),
        (["nowhere.csv"], "penguins", "failed"),
    )
    name, message = refused
    assert name == "Quarantined"
    assert "island: not one of Biscoe, Dream, Torgersen" in message
    assert failed == ("Failed", "nowhere.csv: no such file")


def test_manifest_of_another_format_fails_the_batch(
    scored_project: Path, prefect_server: Server
) -> None:
    inbox = scored_project / "var/inbox/penguins"
    for folder in ("done", "refused"):
        (inbox / folder).mkdir(parents=True)
    batch = inbox / "monday.csv"
    shutil.copy(scored_project / "examples" / "observations.csv", batch)
    digest = sha256_of(batch)
    earlier = inbox / f"scored/sunday-{digest[:12]}" / MANIFEST
    earlier.parent.mkdir(parents=True)
    write_json(earlier, {"engine": "0.0.1", "format": 1})
    out = str(inbox / f"scored/monday-{digest[:12]}")
    arguments: Any = ([str(batch)], "penguins", out, "parquet", None, digest)
    [(name, message)] = score_in_flows(scored_project, prefect_server, arguments)
    assert name == "Failed"
    assert "manifest format 1" in message
    assert "manifest format 1" in (inbox / "refused/monday.csv.reason.txt").read_text()
    assert not batch.exists()


def test_folder_in_the_inbox_is_one_batch(scored_project: Path, prefect_server: Server) -> None:
    inbox = scored_project / "var/inbox/penguins"
    for folder in ("done", "refused"):
        (inbox / folder).mkdir(parents=True)
    batch = inbox / "monday"
    batch.mkdir()
    for name in ("part-00000", "part-00001"):
        shutil.copy(scored_project / "examples" / "observations.csv", batch / name)
    sha256 = digest(batch)
    out = inbox / f"scored/monday-{sha256[:12]}"
    arguments: Any = ([str(batch)], "penguins", str(out), "csv", None, sha256)
    [(name, message)] = score_in_flows(scored_project, prefect_server, arguments)
    assert (name, message[:15]) == ("Scored", "74 of 80 rows s")
    assert (inbox / "done/monday/part-00001").is_file()
    assert not batch.exists()
    assert (out / "predictions" / "part-00000.csv").is_file()
