"""Images through every step: from files like CIFAR-10's, and from a folder of images, to a
verdict.
"""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from support.image_recipes import TEST_ROWS, TRAIN_ROWS, PrepareImages, run_steps
from support.images import encoded

from creche.contract import images
from creche.data import pixel_store
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError
from creche.pipeline import STEPS, run_step
from creche.project import (
    ACCEPTED,
    EVALUATION,
    MISTAKES,
    PREPROCESSOR,
    QUARANTINE,
    SOURCE,
    SPLIT,
    VALIDATION,
    VERDICT,
    RunPaths,
    read_json,
)
from creche.recipe import Recipe, load

IMAGE_BYTES = 32 * 32 * 3
ARROW_OVERHEAD_BYTES = 128


def test_images_pass_every_step_to_a_verdict(trained_image_run: tuple[Recipe, RunPaths]) -> None:
    _, paths = trained_image_run
    verdict = read_json(paths / VERDICT)
    assert verdict["verdict"] == "PROMOTE", verdict["reason"]
    assert read_json(paths / EVALUATION)["accuracy"] > 0.9
    counts = read_json(paths / PREPROCESSOR)["counts"]
    # The official test part, whole.
    assert sum(counts["holdout"].values()) == TEST_ROWS
    assert 50 < sum(counts["validation"].values()) < 110
    assert (paths / MISTAKES).read_bytes().startswith(b"\x89PNG")


def test_pixels_are_stored_once_under_the_home_and_not_in_the_run(
    trained_image_run: tuple[Recipe, RunPaths],
) -> None:
    recipe, paths = trained_image_run
    rows = TRAIN_ROWS + TEST_ROWS
    (pixels_path,) = (paths.home / pixel_store.PIXELS_FOLDER).iterdir()
    assert pixels_path.stat().st_size == rows * IMAGE_BYTES + ARROW_OVERHEAD_BYTES
    table_bytes = sum(path.stat().st_size for path in paths.folder.glob("*.parquet"))
    assert table_bytes < rows * IMAGE_BYTES / 4
    split = pixel_store.read_table(paths / SPLIT, paths)
    assert split["image"].type == pa.binary(IMAGE_BYTES)
    source = TableReader(TableSource.local(paths.root / "cifar"), recipe.contract()).read_all()
    assert split["image"].combine_chunks().equals(source.values["image"])


def test_missing_pixels_name_the_step_that_makes_them(prepare_images: PrepareImages) -> None:
    recipe, paths = prepare_images()
    run_steps(recipe, paths, "pull", "validate")
    (pixels_path,) = (paths.home / pixel_store.PIXELS_FOLDER).iterdir()
    pixels_path.unlink()
    message = rf"{pixels_path} is gone, which .*{ACCEPTED} refers to: run validate again"
    with pytest.raises(DataError, match=message):
        run_step("preprocess", recipe, paths)


def write_photos(project: Path, recipe: Recipe) -> Path:
    """Write the images of the recipe as PNG files, in a folder for each class."""
    table = TableReader(TableSource.local(project / "cifar"), recipe.contract()).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    photos = project / "photos"
    for i, label in enumerate(table.values["label"].to_pylist()):
        (photos / label).mkdir(parents=True, exist_ok=True)
        (photos / label / f"{i}.png").write_bytes(encoded(pixels[i]))
    return photos


def test_folder_names_are_the_labels_of_a_folder_of_images(
    prepare_images: PrepareImages, project: Path
) -> None:
    recipe, paths = prepare_images()
    photos = write_photos(project, recipe)
    (photos / "cat" / "notes.txt").write_text("seen at dusk")
    content = yaml.safe_load((project / "recipes" / "small.yaml").read_text())
    content["data"] = {"path": "photos"}
    content["split"] = {"validation": 0.2, "holdout": 0.3}
    del content["columns"]["part"]
    (project / "recipes" / "photos.yaml").write_text(yaml.safe_dump(content))
    recipe = load("photos", project)
    with pytest.raises(
        DataError, match="photos is neither tracked by DVC nor pinned: run `dvc add photos`"
    ):
        run_step("pull", recipe, paths)
    dvc_add = [sys.executable, "-m", "dvc", "add", "photos"]
    subprocess.run(dvc_add, cwd=project, check=True, capture_output=True)
    run_steps(recipe, paths, *STEPS[:-1])
    assert read_json(paths / SOURCE)["version"].endswith(".dir")
    validation = read_json(paths / VALIDATION)
    assert validation["accepted"] == TRAIN_ROWS + TEST_ROWS
    assert validation["reasons"] == {"image: not an image": 1}
    assert pq.read_table(paths / QUARANTINE)["path"].to_pylist() == ["cat/notes.txt"]
    assert read_json(paths / EVALUATION)["accuracy"] > 0.8


def test_image_input_is_described_and_its_mistakes_are_plotted(
    trained_image_run: tuple[Recipe, RunPaths],
) -> None:
    recipe, paths = trained_image_run
    (image,) = recipe.describe().inputs
    assert image.kind == "image"
    assert image.values == "32 × 32 pixels, 3 channels, 0 to 255"
    with Image.open(paths / MISTAKES) as mistakes:
        assert mistakes.width > 500  # pixels
