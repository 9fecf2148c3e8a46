"""Validation of images: which rows are quarantined, and why."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.image_recipes import TEST_ROWS, TRAIN_ROWS, PrepareImages, run_steps
from support.images import encoded

from creche.data import pixel_store
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError
from creche.pipeline.validate import validate
from creche.project import QUARANTINE, SPLIT, VALIDATION, read_json

RECORD_BYTES = 3073  # a record of CIFAR-10: the label, and 32 × 32 × 3 pixels


def test_folder_without_folders_of_classes_is_refused(
    prepare_images: PrepareImages, project: Path
) -> None:
    recipe, _ = prepare_images(split={"holdout": 0.3})
    (project / "flat").mkdir()
    pixels = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
    (project / "flat" / "a.png").write_bytes(encoded(pixels))
    with pytest.raises(DataError, match=r"missing column label"):
        validate(project / "flat", "flat", recipe)


def test_unknown_label_and_image_of_one_color_are_quarantined(
    prepare_images: PrepareImages, project: Path
) -> None:
    prepare_images()
    file = project / "cifar" / "data_batch_3.bin"
    content = bytearray(file.read_bytes())
    content[0] = 17
    content[RECORD_BYTES + 1 : 2 * RECORD_BYTES] = bytes([90]) * (RECORD_BYTES - 1)
    file.write_bytes(content)
    recipe, paths = prepare_images()
    run_steps(recipe, paths, "pull", "validate")
    assert read_json(paths / VALIDATION)["reasons"] == {
        f"label: not one of {', '.join(recipe.classes)}": 1,
        "image: one color all over": 1,
    }
    assert pq.read_table(paths / QUARANTINE)["row"].to_pylist() == [161, 162]


def test_training_image_that_is_in_the_holdout_too_is_quarantined(
    prepare_images: PrepareImages, project: Path
) -> None:
    prepare_images()
    train = project / "cifar" / "data_batch_1.bin"
    test = project / "cifar" / "test_batch.bin"
    content = bytearray(train.read_bytes())
    content[1:RECORD_BYTES] = test.read_bytes()[1:RECORD_BYTES]
    train.write_bytes(content)
    recipe, paths = prepare_images()
    run_steps(recipe, paths, "pull", "validate", "preprocess")
    assert read_json(paths / VALIDATION)["reasons"] == {"image: is in the holdout too": 1}
    table = pixel_store.read_table(paths / SPLIT, paths)
    splits: dict[bytes, set[str]] = {}
    for cell, split in zip(table["image"].to_pylist(), table["split"].to_pylist(), strict=True):
        splits.setdefault(cell, set()).add(split)
    assert all(len(splits_of_image) == 1 for splits_of_image in splits.values())


def test_files_that_are_not_pinned_are_not_read(
    prepare_images: PrepareImages, project: Path
) -> None:
    recipe, paths = prepare_images()
    content = (project / "cifar" / "data_batch_1.bin").read_bytes()
    (project / "cifar" / "data_batch_6.bin").write_bytes(content)
    run_steps(recipe, paths, "pull", "validate")
    assert read_json(paths / VALIDATION)["rows"] == TRAIN_ROWS + TEST_ROWS


def test_great_expectations_and_the_masks_refuse_the_same_images(
    prepare_images: PrepareImages, project: Path
) -> None:
    recipe, _ = prepare_images()
    random = np.random.default_rng(1)
    cells: list[bytes | None] = []
    for i in range(40):
        cells.append(random.bytes(3072) if i % 3 else bytes([i]) * 3072)
    cells[5] = None
    labels = [recipe.classes[i % 10] for i in range(40)]
    labels[7] = "zebra"
    parts = ["train" if i % 4 else "test" for i in range(40)]
    table = pa.table({"image": pa.array(cells, pa.binary(3072)), "label": labels, "part": parts})
    pq.write_table(table, project / "cells.parquet")
    quarantine = validate(project / "cells.parquet", "cells", recipe).quarantine
    by_expectations = {row["row"]: row["reasons"][-1] for row in quarantine.to_pylist()}
    source = TableSource.local(project / "cells.parquet")
    reader = TableReader(source, recipe.contract())
    batch = reader.read_all()
    by_masks = {}
    for _, reason, mask in batch.check(reader.contract):
        for i in np.flatnonzero(mask):
            by_masks[int(batch.row_numbers[i])] = reason
    assert by_expectations == by_masks
    assert len(by_masks) == 16
