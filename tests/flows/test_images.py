"""Images from their files to a champion, and pictures answered by it, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from support.pictures import cifar, encoded
from support.projects import Cli, new_project, run_cli

from creche.contract import images
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.project import CARD, CHECKPOINTS, RUN, ProjectPaths
from creche.recipe import load
from creche.registry import store_location

Server = dict[str, str]


def small(root: Path, **training: object) -> None:
    """A recipe of small images and a small network, and its data."""
    content = yaml.safe_load((root / "recipes" / "cifar10.yaml").read_text())
    content["data"] |= {"files": cifar(root / "cifar"), "folder": str(root / "cifar")}
    content["network"] |= {
        "convolutions": [{"channels": 8, "size": 4, "stride": 2}, {"channels": 16, "pool": 2}],
        "hidden": [16],
    }
    content["training"] |= {
        "optimizer": "adamw",
        "learning_rate": 0.02,
        "epochs": 5,
        "batch_size": 20,
        "bias_lr_multiplier": 2,
        **training,
    }
    content["split"]["validation"] = 0.2
    content["gate"] = {"accuracy": 0.8, "recall": 0.5}
    (root / "recipes" / "small.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def reigning(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> Path:
    root = new_project(tmp_path_factory.mktemp("pictures") / "project")
    small(root)
    done = run_cli(root, "retrain", "small", "--workers", "2", **prefect_server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PROMOTED  All checks passed")
    return root


def test_card_shows_the_surest_mistakes(reigning: Path) -> None:
    (run,) = (p.parent for p in (reigning / "var" / "runs").glob(f"*/{RUN}"))
    card = (run / CARD).read_text()
    assert "Most confident mistakes" in card
    assert "32 × 32 pixels, 3 channels" in card
    assert "shared by 2 processes" in card
    assert card.count("data:image/png;base64,") == 3


def test_folder_of_pictures_is_answered_and_each_answer_traced(
    reigning: Path, tmp_path: Path
) -> None:
    recipe = load("small", reigning)
    table = TableReader(
        TableSource.local(reigning / "cifar" / "test_batch.bin"), recipe.contract()
    ).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    (tmp_path / "new").mkdir()
    for i in range(40):
        (tmp_path / "new" / f"{i:03}.png").write_bytes(encoded(pixels[i]))
    (tmp_path / "new" / "broken.jpg").write_bytes(b"no picture")
    done = run_cli(
        reigning,
        "score",
        str(tmp_path / "new"),
        "--recipe",
        "small",
        "--out",
        str(tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert "40 of 41 rows scored with small version 1" in done.stdout
    found = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert found["path"].to_pylist()[:2] == ["000.png", "001.png"]
    right = np.array(found["predicted_label"].to_pylist()) == np.array(
        table.values["label"].to_pylist()[:40]
    )
    assert right.mean() > 0.8
    assert pq.read_table(tmp_path / "out" / "quarantine.parquet")["reasons"].to_pylist() == [
        ["image: not a picture"]
    ]
    why = run_cli(reigning, "trace", f"{tmp_path / 'out'}:3")
    assert why.returncode == 0, why.stderr
    one = run_cli(reigning, "predict", "small", f"image={tmp_path / 'new' / '002.png'}", "--json")
    assert json.loads(one.stdout)["label"] == found["predicted_label"][2].as_py()


def test_champion_takes_pixels_through_mlflow(
    reigning: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_location(ProjectPaths.find(reigning)).uri)
    model = mlflow.pyfunc.load_model("models:/small@champion")
    predictions = model.predict({"image": np.zeros((3, 32, 32, 3), np.uint8)})
    assert len(predictions["label"]) == 3


def test_challenger_meets_the_champion_on_the_same_pictures(
    reigning: Path, prefect_server: Server
) -> None:
    done = run_cli(reigning, "retrain", "small", "--force", **prefect_server)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("INCONCLUSIVE  It is no worse than the champion")


def test_retraining_killed_half_way_goes_on(
    project: Path, cli: Cli, prefect_server: Server
) -> None:
    small(project, epochs=60, checkpoint_minutes=0)
    command = [sys.executable, "-m", "creche.cli", "retrain", "small"]
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in ("CRECHE_HOME", "MLFLOW_TRACKING_URI", "PYTHONWARNINGS")
    }
    checkpoints = project / "var" / CHECKPOINTS
    with subprocess.Popen(
        command, cwd=project, env={**clean, **prefect_server}, stderr=subprocess.DEVNULL
    ) as run:
        while not list(checkpoints.glob("*.pt")) and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
    assert list(checkpoints.glob("*.pt"))
    done = cli("retrain", "small", **prefect_server)
    assert done.returncode == 0, done.stderr
    assert not list(checkpoints.iterdir())
