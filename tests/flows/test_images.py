"""Images from their files to a champion on a Prefect server, and images scored with it."""

import json
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.image_recipes import prepare_images
from support.images import encoded
from support.prefect_api import Server
from support.projects import call_cli, new_project, run_cli

from creche.contract import images
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.project import CARD, RUN, ProjectPaths
from creche.recipe import load
from creche.registry import store_location

# As in recipes/cifar10.yaml, beside what the small recipe has.
TRAINING = {
    "augment": {"horizontal_flip": True, "shift": 2},
    "label_smoothing": 0.05,
    "precision": "bfloat16",
    "weight_decay": 0.0005,
}


@pytest.fixture(scope="module")
def image_project(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> Path:
    """A project with a champion that two processes trained on small images."""
    root = new_project(tmp_path_factory.mktemp("images") / "project")
    prepare_images(root, training=TRAINING)
    result = run_cli(root, "retrain", "small", "--processes", "2", **prefect_server)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("PROMOTED  All checks passed")
    return root


def first_run(project: Path) -> Path:
    """Return the folder of the run that promoted version 1."""
    return min(path.parent for path in project.glob(f"var/runs/*/{RUN}"))


def test_card_of_images_shows_the_most_confident_mistakes(image_project: Path) -> None:
    card = (first_run(image_project) / CARD).read_text()
    assert "Most confident mistakes" in card
    assert "32 × 32 pixels, 3 channels" in card
    assert "shared by 2 processes" in card
    assert card.count("data:image/png;base64,") == 3


def test_folder_of_images_is_scored_and_each_prediction_traced(
    image_project: Path, tmp_path: Path
) -> None:
    recipe = load("small", image_project)
    source = TableSource.local(image_project / "cifar" / "test_batch.bin")
    table = TableReader(source, recipe.contract()).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    folder, out = tmp_path / "new", tmp_path / "out"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:03}.png").write_bytes(encoded(pixels[i]))
    (folder / "broken.jpg").write_bytes(b"no image")
    result = call_cli(image_project, "score", str(folder), "--recipe", "small", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert "40 of 41 rows scored with small version 1" in result.stdout
    predictions = pq.read_table(out / "predictions.parquet")
    assert predictions["path"].to_pylist()[:2] == ["000.png", "001.png"]
    predicted_labels = np.array(predictions["predicted_label"].to_pylist())
    labels = np.array(table.values["label"].to_pylist()[:40])
    assert (predicted_labels == labels).mean() > 0.8
    quarantine = pq.read_table(out / "quarantine.parquet")
    assert quarantine["reasons"].to_pylist() == [["image: not an image"]]
    result = call_cli(image_project, "trace", f"{out}:3")
    assert result.returncode == 0, result.stderr
    image = f"image={folder / '002.png'}"
    result = call_cli(image_project, "predict", "small", image, "--json")
    assert json.loads(result.stdout)["label"] == predicted_labels[2]


def test_champion_takes_pixels_through_mlflow(
    image_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_location(ProjectPaths.find(image_project))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    model = mlflow.pyfunc.load_model("models:/small@champion")
    predictions = model.predict({"image": np.zeros((3, 32, 32, 3), np.uint8)})
    assert len(predictions["label"]) == 3


def test_challenger_is_compared_with_the_champion_on_the_same_images(
    image_project: Path,
) -> None:
    result = call_cli(image_project, "retrain", "small", "--force")
    assert result.returncode == 3, result.stderr
    assert result.stdout.startswith("INCONCLUSIVE  It is no worse than the champion")
