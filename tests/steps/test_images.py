"""Images through every step: from files as CIFAR-10's, and from a folder of pictures, to a
verdict.
"""

import base64
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from support.pictures import cifar, encoded
from support.projects import ROOT, new_project

from creche.contract import images
from creche.data import pixel_store
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError, RecipeError, UnreachableError
from creche.model import networks
from creche.model.artifact import Model
from creche.model.preprocessor import Preprocessor
from creche.pipeline import STEPS, run_step
from creche.pipeline.validate import validate
from creche.project import (
    ACCEPTED,
    EVALUATION,
    HISTORY,
    MISTAKES,
    MODEL,
    PREPROCESSOR,
    QUARANTINE,
    SOURCE,
    SPLIT,
    VALIDATION,
    WEIGHTS,
    ProjectPaths,
    RunPaths,
    read_json,
)  # fmt: skip
from creche.provenance import md5_of
from creche.recipe import Augment, Recipe, Scale, load
from creche.training.augmentation import augment
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network

SMALL = {
    "network": {
        "kind": "cnn", "batch_norm": True, "whiten": True, "pooling": "max", "mirror_average": True, "hidden": [16],
        "convolutions": [{"channels": 8, "size": 4, "stride": 2}, {"channels": 16, "pool": 2}],
    },
    "training": {
        "optimizer": "adamw", "learning_rate": 0.02, "schedule": "one-cycle", "epochs": 5, "batch_size": 20, "checkpoint_selection": "last",
        "augment": {"shift": 2}, "bias_lr_multiplier": 2, "checkpoint_epochs": 1,
    },
    "gate": {"accuracy": 0.8, "recall": 0.5, "behavior": [{"name": "m", "change": {"image": "mirror"}, "expect": "same"}]},
    "split": {"validation": 0.2, "holdout": {"part": "test"}},
}  # fmt: skip
MLP = {
    "kind": "mlp",
    "convolutions": [],
    "batch_norm": False,
    "whiten": False,
    "mirror_average": False,
    "pooling": "flatten",
}
Make = Callable[..., tuple[Recipe, RunPaths]]


def recipe_of(root: Path, files: dict[str, str], folder: Path, **changes: Any) -> Recipe:
    content = yaml.safe_load((ROOT / "recipes" / "cifar10.yaml").read_text())
    content["data"] |= {
        "files": files,
        "folder": str(folder),
        "url": (root / "small.tar.gz").as_uri(),
    }
    content |= SMALL
    for key, value in changes.items():
        content[key] = {**content[key], **value}
    (root / "recipes" / "small.yaml").write_text(yaml.safe_dump(content))
    return load("small", root)


@pytest.fixture
def small(project: Path) -> Make:
    """A recipe of small images, its data, and the run that the steps write into."""

    def make(**changes: Any) -> tuple[Recipe, RunPaths]:
        folder = project / "cifar"
        files = (
            cifar(folder)
            if not folder.is_dir()
            else {p.name: md5_of(p) for p in folder.glob("*.bin")}
        )
        return recipe_of(project, files, folder, **changes), ProjectPaths.find(project).at(
            project / "run"
        )

    return make


def go(recipe: Recipe, paths: RunPaths, *steps: str) -> None:
    for step in steps:
        run_step(step, recipe, paths)


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunPaths]:
    """The small recipe through every step up to the verdict."""
    root = new_project(tmp_path_factory.mktemp("images") / "project")
    recipe = recipe_of(root, cifar(root / "cifar"), root / "cifar")
    paths = ProjectPaths.find(root).at(root / "run")
    go(recipe, paths, *STEPS[:-1])
    return recipe, paths


def test_every_step_takes_images_to_a_verdict(through: tuple[Recipe, RunPaths]) -> None:
    _, paths = through
    verdict = read_json(paths / "verdict.json")
    assert verdict["verdict"] == "PROMOTE", verdict["reason"]
    assert read_json(paths / EVALUATION)["accuracy"] > 0.9
    split = read_json(paths / PREPROCESSOR)["counts"]
    assert sum(split["holdout"].values()) == 200  # the official test part, whole
    assert 50 < sum(split["validation"].values()) < 110
    assert (paths / MISTAKES).read_bytes().startswith(b"\x89PNG")


def test_pixels_lie_once_under_the_home_and_not_in_the_run(
    through: tuple[Recipe, RunPaths],
) -> None:
    _, paths = through
    (kept,) = (paths.home / pixel_store.PIXELS_FOLDER).iterdir()
    assert kept.stat().st_size == 600 * 3072 + 128
    assert (
        sum(p.stat().st_size for p in paths.folder.iterdir() if p.suffix == ".parquet")
        < 600 * 3072 / 4
    )
    whole = pixel_store.read_table(paths / SPLIT, paths)
    assert whole["image"].type == pa.binary(3072)
    raw = (
        TableReader(TableSource.local(paths.root / "cifar"), through[0].contract())
        .read_all()
        .values["image"]
    )
    assert whole["image"].combine_chunks().equals(raw)


def test_lost_pixels_name_the_step_that_makes_them(small: Make) -> None:
    recipe, paths = small()
    go(recipe, paths, "pull", "validate")
    (kept,) = (paths.home / pixel_store.PIXELS_FOLDER).iterdir()
    kept.unlink()
    with pytest.raises(
        DataError, match=rf"{kept} is gone, which .*{ACCEPTED} refers to: run validate again"
    ):
        run_step("preprocess", recipe, paths)


def test_model_file_takes_pixels_and_answers_as_torch_does(
    through: tuple[Recipe, RunPaths],
) -> None:
    recipe, paths = through
    model = Model(paths / MODEL)
    assert not model.verify()
    transform = Preprocessor.from_dict(
        {k: v for k, v in read_json(paths / PREPROCESSOR).items() if k != "counts"}
    )
    net = networks.build(recipe.network, transform).eval()
    net.load_state_dict(load_file(paths / WEIGHTS))
    holdout = pixel_store.read_table(paths / SPLIT, paths).filter(pc.field("side") == "holdout")
    pixels = images.pixels(holdout["image"], recipe.columns["image"])
    with torch.inference_mode():
        ours = net(torch.from_numpy(pixels)).softmax(1).numpy()
    predictions = model.predict({"image": pixels})
    np.testing.assert_allclose(predictions.probabilities, ours, atol=1e-5)
    mirrored = model.predict({"image": pixels[:, :, ::-1]})
    np.testing.assert_allclose(
        mirrored.probabilities, predictions.probabilities, atol=1e-5
    )  # mirror_average
    assert (
        model.predict_encoded({"image": pixels}).probabilities == predictions.probabilities
    ).mean() > 0.99
    assert (
        predictions.sets[
            np.arange(200), [model.classes.index(c) for c in holdout["label"].to_pylist()]
        ].mean()
        > 0.8
    )


def test_noise_is_less_typical_than_what_was_learned(through: tuple[Recipe, RunPaths]) -> None:
    model = Model(through[1] / MODEL)
    random = np.random.default_rng(0)
    strange = model.predict({"image": random.choice([0, 255], (50, 32, 32, 3)).astype(np.uint8)})
    known = model.predict(
        {
            "image": images.pixels(
                pixel_store.read_table(through[1] / SPLIT, through[1])["image"],
                model.contract.columns["image"],
            )
        }
    )
    assert strange.ood_score.mean() < 0.1 < known.ood_score.mean()


def test_golden_rows_of_images_are_pixels_in_base64(through: tuple[Recipe, RunPaths]) -> None:
    golden = Model(through[1] / MODEL).metadata.golden
    assert {len(base64.b64decode(cell)) for cell in golden.rows["image"]} == {3072}
    assert len(set(golden.label)) == 10


def test_same_run_gives_the_same_file(through: tuple[Recipe, RunPaths], small: Make) -> None:
    recipe, paths = small()
    go(recipe, paths, *STEPS[:5])
    assert (paths / WEIGHTS).read_bytes() == (through[1] / WEIGHTS).read_bytes()
    assert Model(paths / MODEL).digest == Model(through[1] / MODEL).digest


def test_team_of_two_learns_what_one_learns_though_batches_are_normalised(
    through: tuple[Recipe, RunPaths], small: Make
) -> None:
    recipe, paths = small(training={"workers": 2})
    go(recipe, paths, *STEPS[:4])
    alone, together = (read_json(p / HISTORY) for p in (through[1], paths))
    assert [e["loss"] for e in together] == pytest.approx([e["loss"] for e in alone], rel=0.01)
    first, second = (load_file(p / WEIGHTS) for p in (through[1], paths))
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=0.02, rtol=0.1)


def test_folder_of_pictures_is_learned_from_by_the_names_of_its_folders(
    small: Make, project: Path
) -> None:
    recipe, paths = small()
    table = TableReader(TableSource.local(project / "cifar"), recipe.contract()).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    for i, label in enumerate(table.values["label"].to_pylist()):
        (project / "photos" / label).mkdir(parents=True, exist_ok=True)
        (project / "photos" / label / f"{i}.png").write_bytes(encoded(pixels[i]))
    (project / "photos" / "cat" / "notes.txt").write_text("seen at dusk")
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
    subprocess.run(
        [sys.executable, "-m", "dvc", "add", "photos"], cwd=project, check=True, capture_output=True
    )
    go(recipe, paths, *STEPS[:-1])
    assert read_json(paths / SOURCE)["version"].endswith(".dir")
    validation = read_json(paths / VALIDATION)
    assert (validation["accepted"], validation["reasons"]) == (600, {"image: not a picture": 1})
    assert pq.read_table(paths / QUARANTINE)["path"].to_pylist() == ["cat/notes.txt"]
    assert read_json(paths / EVALUATION)["accuracy"] > 0.8


def test_folder_without_classes_is_refused_with_what_is_missing(small: Make, project: Path) -> None:
    recipe, _ = small(split={"holdout": 0.3})
    (project / "flat").mkdir()
    (project / "flat" / "a.png").write_bytes(
        encoded(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))
    )
    with pytest.raises(DataError, match=r"missing column label"):
        validate(project / "flat", "flat", recipe)


def test_label_outside_the_classes_and_one_colour_are_quarantined(
    small: Make, project: Path
) -> None:
    recipe, paths = small()
    file = project / "cifar" / "data_batch_3.bin"
    content = bytearray(file.read_bytes())
    content[0] = 17
    content[3073 + 1 : 2 * 3073] = bytes([90]) * 3072
    file.write_bytes(content)
    recipe, paths = small()
    go(recipe, paths, "pull", "validate")
    assert read_json(paths / VALIDATION)["reasons"] == {
        f"label: not one of {', '.join(recipe.classes)}": 1,
        "image: one color all over": 1,
    }
    assert pq.read_table(paths / QUARANTINE)["row"].to_pylist() == [161, 162]


def test_picture_of_the_holdout_is_not_learned_from(small: Make, project: Path) -> None:
    small()
    train, test = project / "cifar" / "data_batch_1.bin", project / "cifar" / "test_batch.bin"
    content = bytearray(train.read_bytes())
    content[1:3073] = test.read_bytes()[1:3073]
    train.write_bytes(content)
    recipe, paths = small()
    go(recipe, paths, "pull", "validate", "preprocess")
    assert read_json(paths / VALIDATION)["reasons"] == {"image: is in the holdout too": 1}
    table = pixel_store.read_table(paths / SPLIT, paths)
    sides: dict[bytes, set[str]] = {}
    for cell, side in zip(table["image"].to_pylist(), table["side"].to_pylist(), strict=True):
        sides.setdefault(cell, set()).add(side)
    assert all(len(s) == 1 for s in sides.values())


def test_great_expectations_and_the_masks_refuse_the_same_images(
    small: Make, project: Path
) -> None:
    recipe, _ = small()
    random = np.random.default_rng(1)
    cells: list[bytes | None] = [
        random.bytes(3072) if i % 3 else bytes([i]) * 3072 for i in range(40)
    ]
    cells[5] = None
    labels = [recipe.classes[i % 10] if i != 7 else "zebra" for i in range(40)]
    parts = ["train" if i % 4 else "test" for i in range(40)]
    table = pa.table({"image": pa.array(cells, pa.binary(3072)), "label": labels, "part": parts})
    pq.write_table(table, project / "cells.parquet")
    by_expectations = validate(project / "cells.parquet", "cells", recipe).quarantine
    read = TableReader(TableSource.local(project / "cells.parquet"), recipe.contract())
    batch = read.read_all()
    by_masks = {
        int(batch.row_numbers[i]): reason
        for _, reason, mask in batch.check(read.contract.rules())
        for i in np.flatnonzero(mask)
    }
    found = {
        row: reasons[-1]
        for row, reasons in zip(
            *(by_expectations[n].to_pylist() for n in ("row", "reasons")), strict=True
        )
    }
    assert found == by_masks
    assert len(found) == 16


def test_augmented_images_are_moved_and_mirrored_ones() -> None:
    x = torch.arange(2 * 6 * 6 * 1, dtype=torch.uint8).view(2, 6, 6, 1)
    still = torch.full((3, 2), 0.5)
    index = torch.tensor([1, 0])
    assert torch.equal(augment(x, index, still, Augment(shift=2)), x[index])
    mirrored = augment(
        x,
        index,
        torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]),
        Augment(shift=2, horizontal_flip=True),
    )
    assert torch.equal(mirrored, torch.stack([x[1].flip(1), x[0]]))
    corner = augment(
        x, index, torch.tensor([[0.0, 0.99], [0.0, 0.99], [0.9, 0.9]]), Augment(shift=2)
    )
    padded = np.pad(x.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    assert np.array_equal(corner[0], padded[1, 0:6, 0:6])
    assert np.array_equal(corner[1], padded[0, 4:10, 4:10])


def test_standardised_channels_are_those_of_the_training_side() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
    pixels[..., 2] = 7
    (fitted,) = Preprocessor.fit({"image": "standardize"}, ("a", "b"), {"image": pixels}).encoders
    np.testing.assert_allclose(fitted.means, (pixels / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(fitted.scales[:2], (pixels / 255).std((0, 1, 2))[:2])
    assert fitted.scales[2] == 1.0  # it never changes: nothing to scale by
    (stated,) = Preprocessor.fit(
        {"image": Scale(mean=0.5, std=0.25)}, ("a", "b"), {"image": pixels}
    ).encoders
    assert (stated.means, stated.scales) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"kind": "mlp", "convolutions": []}}, "network: batch_norm, whiten, mirror_average and pooling are for a cnn"),
        ({"network": MLP}, "network.kind: cnn for an image, mlp for a table's columns"),
        ({"training": {"augment": {"shift": 40}}}, "training.augment.shift: columns.image has no more pixels than that"),
        ({"columns": {"image": {"kind": "image", "width": 32}}}, "columns.image: an image states width, height and channels"),
        ({"columns": {"part": {"kind": "number", "width": 32}}}, "columns.part: an image states width, height and channels"),
        ({"split": {"holdout": {"part": "exam"}}}, "split.holdout: 'part: exam' is no category under columns with that value"),
        ({"features": {"image": "one-hot"}}, "features.image: a image column cannot be encoded 'one-hot'"),
        ({"training": {"patience": 3}, "split": {"validation": 0}}, "training: patience needs split.validation above 0"),
        ({"training": {"optimizer": "sgd", "nesterov": True, "momentum": 0}}, "training: nesterov needs a momentum above 0"),
        ({"network": {"convolutions": [{"channels": 8, "pool": 64}]}}, "network.convolutions.0: nothing is left of the image"),
        ({"network": {"dropout": 0.5, "hidden": []}}, "network: dropout follows hidden layers"),
        ({"gate": {"slices": {"image": 0.5}}}, "gate.slices: 'image' is not a category or text under columns"),
        ({"data": {"files": {}}}, "files and folder go together with the url of an archive"),
    ],
)  # fmt: skip
def test_recipe_of_images_that_cannot_be_is_refused(
    changes: dict[str, Any], said: str, small: Make
) -> None:
    with pytest.raises(RecipeError, match=said.replace("(", r"\(")):
        small(**changes)


def archive_of(folder: Path, to: Path) -> str:
    with tarfile.open(to, "w:gz") as packed:
        packed.add(folder, "cifar-10-batches-bin")
    return md5_of(to)


def test_archive_is_downloaded_once_checked_and_unpacked(small: Make, project: Path) -> None:
    small()
    md5 = archive_of(project / "cifar", project / "small.tar.gz")
    recipe, paths = small(data={"md5": md5, "folder": "$NO_SUCH_VARIABLE"})
    version = run_step("pull", recipe, paths).version
    (project / "small.tar.gz").unlink()
    again = run_step("pull", recipe, paths)
    assert again.version == version == md5
    assert (project / again.path / "test_batch.bin").is_file()
    here, _ = small(data={"md5": md5})
    assert (
        run_step("pull", here, paths).version == version
    )  # wherever it lies, and whatever lies beside


def test_download_that_was_cut_or_altered_leaves_nothing(small: Make, project: Path) -> None:
    small()
    archive = project / "small.tar.gz"
    md5 = archive_of(project / "cifar", archive)
    archive.write_bytes(archive.read_bytes()[:-1000])
    recipe, paths = small(data={"md5": md5, "folder": "$NO_SUCH_VARIABLE"})
    with pytest.raises(DataError, match=r"no longer gives the file that the recipe pins \(md5"):
        run_step("pull", recipe, paths)
    assert not list((paths.home / "downloads" / md5).iterdir())
    archive.unlink()
    with pytest.raises(
        DataError,
        match=r"cannot be downloaded .*download it elsewhere and pass --data FILE: its md5 is checked",
    ):
        run_step("pull", recipe, paths)
    archive_of(project / "cifar", project / "brought.tar.gz")
    with pytest.raises(DataError, match=r"brought.tar.gz is not the archive that the recipe pins"):
        run_step("pull", recipe, paths, data=project / "brought.tar.gz")


class CutShort(BaseHTTPRequestHandler):
    """Says that more comes than does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(bytes(500))

    def log_message(self, *_: object) -> None:
        pass


def test_connection_that_is_cut_is_worth_another_try(small: Make) -> None:
    server = HTTPServer(("127.0.0.1", 0), CutShort)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/small.tar.gz"
        recipe, paths = small(data={"url": url, "folder": "$NO_SUCH_VARIABLE"})
        with pytest.raises(
            UnreachableError, match=r"cannot be downloaded \(500 of 1000 bytes were received\)"
        ):
            run_step("pull", recipe, paths)
    finally:
        server.shutdown()
        server.server_close()


def test_files_that_are_not_pinned_are_not_learned_from(small: Make, project: Path) -> None:
    recipe, paths = small()
    (project / "cifar" / "data_batch_6.bin").write_bytes(
        (project / "cifar" / "data_batch_1.bin").read_bytes()
    )
    go(recipe, paths, "pull", "validate")
    assert read_json(paths / VALIDATION)["rows"] == 600


def test_folder_with_a_file_cut_short_is_refused(small: Make, project: Path) -> None:
    recipe, paths = small()
    file = project / "cifar" / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_2.bin is not the file that the recipe pins"):
        run_step("pull", recipe, paths)
    file.unlink()
    with pytest.raises(DataError, match=r"data_batch_2.bin is missing .*: put the whole .* there"):
        run_step("pull", recipe, paths)


def test_card_and_page_are_those_of_images(through: tuple[Recipe, RunPaths]) -> None:
    recipe, _ = through
    (image,) = recipe.describe().inputs
    assert image.kind == "image"
    assert image.values == "32 × 32 pixels, 3 channels, 0 to 255"
    with Image.open(through[1] / MISTAKES) as mistakes:
        assert mistakes.width > 500


@pytest.fixture(scope="module")
def official() -> Path:
    """The folder of the official files."""
    folder = Path(os.environ.get("CIFAR10_DIR") or Path.home() / ".cache" / "cifar-10-batches-bin")
    if not (folder / "test_batch.bin").is_file():
        pytest.skip("CIFAR10_DIR names no folder with the binary version of CIFAR-10")
    return folder


def test_tutorial_starts_with_the_loss_that_was_printed(official: Path) -> None:
    recipe = load("cifar10-tutorial", ROOT)
    table = TableReader(TableSource.local(official), recipe.contract()).read_all()
    pixels = images.pixels(table.values["image"], recipe.columns["image"])
    assert len(pixels) == 60_000
    assert not table.check(recipe.contract().rules())
    labels = torch.tensor([recipe.classes.index(c) for c in table.values["label"].to_pylist()])
    transform = Preprocessor.fit(recipe.features, recipe.classes, {"image": pixels[:1]})
    training = recipe.training.model_copy(update={"epochs": 1, "log_every": 2000})
    torch.manual_seed(0)
    chosen = torch.randperm(50_000)[:16_000]
    rows, watched = (
        LabeledTensors(torch.from_numpy(pixels)[i], labels[i])
        for i in (chosen, slice(50_000, 51_000))
    )
    _, history = train_network(
        recipe.model_copy(update={"training": training}), transform, rows, watched
    )
    assert history[0].batch_losses == pytest.approx(
        [2.19, 1.82], abs=0.1
    )  # the whole of it: benchmarks/images.py
