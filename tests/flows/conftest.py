"""A run on the Prefect server that promoted a model."""

from pathlib import Path

import pytest
from support.prefect_api import MLFLOW_URL, PromotedRun, Server, started_flow_runs
from support.projects import new_project, run_cli


@pytest.fixture(scope="session")
def promoted_run(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> PromotedRun:
    """Penguins, trained and promoted on the Prefect server; tests may retrain them unchanged."""
    root = new_project(tmp_path_factory.mktemp("promoted") / "project")
    result = run_cli(root, "retrain", "penguins", **prefect_server, CRECHE_MLFLOW_URL=MLFLOW_URL)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("PROMOTED  All checks passed")
    return PromotedRun(root, started_flow_runs(prefect_server)[0]["id"])


@pytest.fixture
def prefect_project(promoted_run: PromotedRun) -> Path:
    return promoted_run.project
