"""A retraining that is interrupted while it trains."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.processes import wait_until
from support.projects import call_cli, edit

TRAINING_SECONDS = 120  # until a run has written its first checkpoint


def assert_interruption_promotes_nothing(project: Path, environment: Mapping[str, str]) -> str:
    """Interrupt `creche retrain penguins` as Ctrl-C in a terminal does, and check what it leaves.

    Returns:
        The recipe's content before it was made to train for ever.
    """
    recipe = project / "recipes" / "penguins.yaml"
    original = edit(recipe, "epochs: 150", "epochs: 1000000\n  checkpoint_epochs: 20")
    run = subprocess.Popen(
        [sys.executable, "-m", "creche.cli", "retrain", "penguins"],
        cwd=project,
        env={**os.environ, **environment},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(
            lambda: run.poll() is not None or list(project.glob("var/checkpoints/*")),
            TRAINING_SECONDS,
            "the run trains",
        )
        assert run.poll() is None
        # As a terminal does, to the whole process group.
        os.killpg(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "creche: interrupted" in errors
    record = json.loads(next(project.glob("var/runs/*/run.json")).read_text())
    assert record["state"] == "Interrupted"
    assert call_cli(project, "predict", "penguins", "a=1").returncode == 1
    return original
