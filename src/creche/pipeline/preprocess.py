"""Step preprocess: split the accepted rows, and fit the preprocessor on the training rows alone."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche.data import pixel_store
from creche.data.placement import (
    add_split,
    group_hashes,
    place_rows,
    placing_columns,
    split_rows,
)
from creche.data.split import SPLIT_COLUMN, SPLIT_NAMES, training_rows
from creche.data.split_report import report_of
from creche.model.preprocessor import Preprocessor
from creche.project import ACCEPTED, PREPROCESSOR, SPLIT, RunPaths, atomic_write, write_json
from creche.recipe import Recipe
from creche.records import SplitReport

INPUTS = (ACCEPTED,)
OUTPUTS = (SPLIT, PREPROCESSOR)
BATCH_ROWS = 131_072  # whose keys are in memory at once


def run(recipe: Recipe, paths: RunPaths) -> SplitReport:
    """Write the split rows and the fitted preprocessor; return the rows by split and class.

    Of a large table only some columns are in memory at once.
    """
    hashes = _hashes(recipe, paths)
    rows = pq.read_table(paths / ACCEPTED, columns=placing_columns(recipe))
    places = place_rows(rows, hashes, recipe)
    report = report_of(rows, places, hashes, recipe)
    _write_split(places, hashes, recipe, paths)
    preprocessor = _fit(recipe, _TrainingColumns(recipe, paths))
    counts = {split_name: report[split_name] for split_name in SPLIT_NAMES}
    write_json(paths / PREPROCESSOR, {**preprocessor.to_dict(), "counts": counts})
    return SplitReport(**report)


def preprocess(accepted: pa.Table, recipe: Recipe) -> tuple[pa.Table, Preprocessor]:
    """Split the accepted rows of a table in memory, and fit the preprocessor on the training split.

    Returns:
        The rows with `split` and `group_hash`, and the preprocessor.

    Raises:
        DataError: a split is empty, or a class has no row in training or in the holdout, or a
            feature no value in any training row.
    """
    table = split_rows(accepted, recipe)
    contract = recipe.contract().subset(recipe.features)
    return table, _fit(recipe, pixel_store.model_arrays(training_rows(table), contract))


def _fit(recipe: Recipe, columns: Mapping[str, np.ndarray]) -> Preprocessor:
    contract = recipe.contract().subset(recipe.features)
    return Preprocessor.fit(recipe.features, recipe.classes, columns, contract)


def _hashes(recipe: Recipe, paths: RunPaths) -> np.ndarray:
    """Return the group hash of each accepted row (n,)."""
    names = list(recipe.key_columns)
    if recipe.image_features:
        table = pixel_store.read_table(paths / ACCEPTED, paths, names)
        return group_hashes(table, recipe)
    hashes = [np.zeros(0, np.uint64)]
    # With pre-buffering, Arrow keeps all that it has read.
    with pq.ParquetFile(paths / ACCEPTED, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            hashes.append(group_hashes(pa.Table.from_batches([batch]), recipe))
    return np.concatenate(hashes)


def _write_split(places: np.ndarray, hashes: np.ndarray, recipe: Recipe, paths: RunPaths) -> None:
    """Write the accepted rows with their split and hash, one row group at a time."""
    with (
        pq.ParquetFile(paths / ACCEPTED, pre_buffer=False) as file,
        atomic_write(paths / SPLIT) as temporary,
    ):
        empty = file.schema_arrow.empty_table()
        schema = add_split(empty, places[:0], hashes[:0], recipe).schema
        with pq.ParquetWriter(temporary, schema) as writer:
            start = 0
            for index in range(file.num_row_groups):
                rows = file.read_row_group(index)
                end = start + rows.num_rows
                writer.write_table(add_split(rows, places[start:end], hashes[start:end], recipe))
                start = end


class _TrainingColumns(Mapping[str, np.ndarray]):
    """The features of the training rows, each read when it is asked for."""

    def __init__(self, recipe: Recipe, paths: RunPaths) -> None:
        self._contract = recipe.contract().subset(recipe.features)
        self._paths = paths

    def __getitem__(self, name: str) -> np.ndarray:
        table = pixel_store.read_table(self._paths / SPLIT, self._paths, [name, SPLIT_COLUMN])
        contract = self._contract.subset([name])
        return pixel_store.model_arrays(training_rows(table), contract)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._contract.columns)

    def __len__(self) -> int:
        return len(self._contract.columns)
