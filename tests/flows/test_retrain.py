"""The retrain command and flow on a real Prefect server, and on Prefect's embedded one."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.interruption import assert_interruption_promotes_nothing
from support.prefect_api import PromotedRun, Server, artifacts_of_run, query, started_flow_runs
from support.projects import BIRD, Cli, call_cli, edit, run_cli

from creche.api.project import Project


def test_summary_of_an_unchanged_run_states_the_verdict_that_holds(
    prefect_project: Path, prefect_server: Server
) -> None:
    result = run_cli(prefect_project, "retrain", "penguins", **prefect_server)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("UNCHANGED  Data, recipe, code and libraries are those of run")
    for fact in (
        r"version 416d54adb83e",
        r"344 in, 342 accepted, 2 quarantined",
        r"2 × body_mass_g: missing",
        r"train 188, validation 44, holdout 110",
        r"accuracy 1.0000, 95 % interval 0.9663 to 1.0000",
        r"Adelie 1.000 of 42, Chinstrap 1.000 of 24, Gentoo 1.000 of 44",
        r"PROMOTE \([0-9a-f]{16}\), against no champion",
        r"version 1, digest [0-9a-f]{12}, champion",
        r"Next steps:",
    ):
        assert re.search(fact, result.stdout), fact
    assert len(result.stdout.splitlines()) < 30


@pytest.mark.parametrize("on_prefect", [True, False])
def test_unchanged_run_imports_only_what_it_needs(
    prefect_project: Path, prefect_server: Server, on_prefect: bool
) -> None:
    script = (
        "import sys; from creche.cli import main; code = main(['retrain', 'penguins'])\n"
        "heavy = ('torch', 'great_expectations', 'prefect', 'mlflow')\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=prefect_project,
        env={**os.environ, **(prefect_server if on_prefect else {"PREFECT_API_URL": ""})},
        capture_output=True,
        text=True,
    )
    expected = "0 ['prefect']" if on_prefect else "0 []"
    assert result.stdout.splitlines()[-1] == expected
    if on_prefect:
        assert started_flow_runs(prefect_server)[0]["state_name"] == "Unchanged"


def test_flow_run_has_a_name_tags_and_artifacts(
    promoted_run: PromotedRun, prefect_server: Server
) -> None:
    by_id = {"id": {"any_": [promoted_run.flow_run]}}
    (run,) = query(prefect_server, "flow_runs", flow_runs=by_id)
    assert run["state_name"] == "Promoted"
    assert run["name"].startswith("penguins · data 416d54ad · manual · 20")
    assert set(run["tags"]) == {"penguins", "data 416d54adb83e"}
    artifacts = {a["key"]: a for a in artifacts_of_run(prefect_server, run["id"])}
    assert artifacts["retrain-penguins"]["type"] == "markdown"
    reasons = json.loads(artifacts["validation-penguins"]["data"])
    assert {"reason": "accepted", "rows": 342} in reasons


def test_poor_model_is_rejected_and_the_champion_stays(
    project: Path, prefect_server: Server
) -> None:
    assert Project(project).retrain("penguins").state == "Promoted"
    recipe = project / "recipes" / "penguins.yaml"
    edit(recipe, "epochs: 150", "epochs: 1")
    edit(recipe, "learning_rate: 0.01", "learning_rate: 1.0e-6")
    result = run_cli(project, "retrain", "penguins", **prefect_server)
    assert result.returncode == 3, result.stderr
    assert re.match(r"REJECTED  .*below (its|the) threshold", result.stdout)
    assert started_flow_runs(prefect_server)[0]["state_name"] == "Rejected"
    bird = [f"{name}={value}" for name, value in BIRD.items()]
    result = call_cli(project, "predict", "penguins", *bird, "--json")
    assert json.loads(result.stdout)["model_version"] == "1"


def test_too_many_bad_rows_end_the_run_quarantined(
    cli: Cli, project: Path, prefect_server: Server
) -> None:
    edit(project / "recipes" / "penguins.yaml", "min: 2000", "min: 4000")
    result = cli("retrain", "penguins", **prefect_server)
    assert result.returncode == 1
    assert re.match(
        r"QUARANTINED  data/penguins.csv: \d+ of 344 rows .* × body_mass_g: below 4000 g",
        result.stdout,
    )
    assert started_flow_runs(prefect_server)[0]["state_name"] == "Quarantined"


def test_interrupted_flow_run_is_recorded_and_promotes_nothing(
    project: Path, prefect_server: Server
) -> None:
    assert_interruption_promotes_nothing(project, prefect_server)


@pytest.mark.slow
def test_verdict_holds_on_an_embedded_server_that_refuses_every_page(project: Path) -> None:
    script = (
        "from creche.operations import prefect_environment\n"
        "from creche.project import ProjectPaths\n"
        "prefect_environment.configure(ProjectPaths.find())\n"
        "from creche.flows.retrain import retrain\n"
        "retrain('penguins', return_state=True)\n"
    )

    def run_flow() -> None:
        environment = {**os.environ, "PREFECT_API_URL": ""}
        command = [sys.executable, "-c", script]
        subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)

    # The first run creates the server's tables.
    recipe = project / "recipes" / "penguins.yaml"
    original = edit(recipe, "path: data/penguins.csv", "path: data/absent.csv")
    run_flow()
    recipe.write_text(original)
    database = project / "var" / "prefect" / "prefect.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON artifact BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    run_flow()
    states = []
    for path in sorted(project.glob("var/runs/*/run.json")):
        states.append(json.loads(path.read_text())["state"])
    assert states == ["Failed", "Promoted"]
    with closing(sqlite3.connect(database)) as connection:
        warnings = connection.execute(
            "SELECT message FROM log WHERE message LIKE 'not shown in the Prefect UI%'"
        ).fetchall()
    assert len(warnings) >= 3
