"""Out-of-fold predictions: of each row, by a model that was trained without its fold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold predictions of n rows, in the order of the accepted rows."""

    group_hashes: np.ndarray  # (n,) uint64
    row_hashes: np.ndarray  # (n,) uint64, of group and features: which observation it is
    folds: np.ndarray  # (n,) from 0
    predicted: np.ndarray  # (n,) labels
    probabilities: np.ndarray  # (n, classes)
    sets: np.ndarray  # (n, classes) prediction sets

    @classmethod
    def read(cls, path: Path) -> "OutOfFold":
        """Return what `to_table` wrote, in the order of the rows."""
        table = pq.read_table(path).sort_by("row")
        return cls(
            group_hashes=table["group_hash"].to_numpy(),
            row_hashes=table["row_hash"].to_numpy(),
            folds=table["fold"].to_numpy(),
            predicted=table["predicted"].to_numpy(),
            probabilities=as_matrix(table["probabilities"]),
            sets=as_matrix(table["prediction_set"]),
        )

    def to_table(self, rows: pa.ChunkedArray) -> pa.Table:
        """Return the predictions as a table.

        Args:
            rows: the row numbers (n,).
        """
        return pa.table(
            {
                "row": rows,
                "group_hash": self.group_hashes,
                "row_hash": self.row_hashes,
                "fold": self.folds,
                "predicted": pa.array(self.predicted.tolist(), pa.string()),
                "probabilities": as_lists(self.probabilities),
                "prediction_set": as_lists(self.sets),
            }
        )

    def positions_of(self, row_hashes: np.ndarray) -> np.ndarray:
        """Return where these rows are predicted (m,), -1 for one that is not.

        Rows of one hash have one prediction, for they are in one fold.
        """
        known, first = np.unique(self.row_hashes, return_index=True)
        if not len(known):
            return np.full(len(row_hashes), -1)
        nearest = np.minimum(np.searchsorted(known, row_hashes), len(known) - 1)
        return np.where(known[nearest] == row_hashes, first[nearest], -1)


def as_lists(matrix: np.ndarray) -> pa.ListArray:
    """Return a matrix (n, classes) as one list for each row."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))


def as_matrix(lists: pa.ChunkedArray) -> np.ndarray:
    """Return lists of one length as a matrix (n, length)."""
    values: np.ndarray = pc.list_flatten(lists).to_numpy()
    return values.reshape(len(lists), -1)
