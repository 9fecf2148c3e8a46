"""The splits of a run's rows: train, validation and holdout."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TRAIN = "train"
VALIDATION = "validation"
HOLDOUT = "holdout"
LEFT_OUT = "left out"  # of a row that is in no split
SPLIT_NAMES = (TRAIN, VALIDATION, HOLDOUT)
SPLIT_COLUMN = "split"
HASH_COLUMN = "group_hash"
FOLD_COLUMN = "fold"  # of a cross-validation, from 0
HELD_OUT = "held_out"  # the column that names the holdout of a fold


def rows_of(table: pa.Table, split_name: str) -> pa.Table:
    """Return the rows of one split."""
    return table.filter(pc.equal(table[SPLIT_COLUMN], split_name))


def training_rows(table: pa.Table) -> pa.Table:
    """Return the rows of the training split."""
    return rows_of(table, TRAIN)


def validation_rows(table: pa.Table) -> pa.Table:
    """Return the rows of the validation split."""
    return rows_of(table, VALIDATION)


def holdout_rows(table: pa.Table) -> pa.Table:
    """Return the rows that a model is judged on: the holdout, or all of a cross-validation."""
    if FOLD_COLUMN in table.column_names:
        return table
    return rows_of(table, HOLDOUT)


def trained_groups(path: Path) -> np.ndarray:
    """Return the distinct group hashes of the training and validation rows (m,), sorted.

    Args:
        path: of a run's split rows.
    """
    table = pq.read_table(path, columns=[SPLIT_COLUMN, HASH_COLUMN])
    is_trained_on = pc.is_in(table[SPLIT_COLUMN], pa.array([TRAIN, VALIDATION]))
    hashes: np.ndarray = np.unique(table[HASH_COLUMN].filter(is_trained_on).to_numpy())
    return hashes


def class_indices(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> np.ndarray:
    """Return the index of each accepted label (n,) among the classes."""
    indices = pc.index_in(labels.cast(pa.string()), pa.array(classes))
    return np.asarray(indices)
