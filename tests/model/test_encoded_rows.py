"""Large tables are encoded block by block, and a part of them is evenly spaced."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from creche.model import encoded_rows
from creche.model.encoded_rows import encode_rows
from creche.model.preprocessor import Preprocessor
from creche.pipeline.export import evenly_spaced
from creche.project import PREPROCESSOR, SPLIT, RunPaths, read_json
from creche.recipe import Recipe


@pytest.mark.parametrize("block_rows", [1, 50, 342, 1000])
def test_blocks_give_the_same_inputs(
    trained_run: tuple[Recipe, RunPaths, object], block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, paths, _ = trained_run
    table = pq.read_table(paths / SPLIT)
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    expected, labels = encode_rows(table, preprocessor, recipe)
    monkeypatch.setattr(encoded_rows, "BLOCK_ROWS", block_rows)
    inputs, block_labels = encode_rows(table, preprocessor, recipe)
    assert (inputs == expected).all()
    assert (block_labels == labels).all()
    assert encode_rows(table.slice(0, 0), preprocessor, recipe)[0].shape == (0, expected.shape[1])


def test_every_class_has_its_share_of_evenly_spaced_rows(
    trained_run: tuple[Recipe, RunPaths, object],
) -> None:
    recipe, paths, _ = trained_run
    table = pq.read_table(paths / SPLIT)
    assert evenly_spaced(table, recipe, 342) is table
    part = evenly_spaced(table, recipe, 40)
    assert (np.diff(part["row"].to_numpy()) > 0).all()
    before, after = (_shares(rows[recipe.label]) for rows in (table, part))
    assert after == pytest.approx(before, abs=0.02)


def _shares(labels: pa.ChunkedArray) -> dict[str, float]:
    counts = labels.value_counts().to_pylist()
    return {count["values"]: count["counts"] / len(labels) for count in counts}
