"""Rows of a table as the network takes them, encoded block by block."""

import numpy as np
import pyarrow as pa

from creche.data import pixel_store
from creche.model.preprocessor import Preprocessor
from creche.recipe import Recipe

BLOCK_ROWS = 65_536  # whose columns and parts are in memory beside the result


def encode_rows(
    table: pa.Table, preprocessor: Preprocessor, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Return the network's inputs (n, width) float32 or (n, height, width, channels) uint8, and the
    class indices (n,) int64, of n rows.

    Raises:
        DataError: a label is none of the classes.
    """
    contract = recipe.contract().subset(recipe.features)
    inputs: np.ndarray | None = None
    labels = np.zeros(table.num_rows, np.int64)
    # One block at least, so that no rows give inputs of no rows.
    for start in range(0, max(table.num_rows, 1), BLOCK_ROWS):
        block = table.slice(start, BLOCK_ROWS)
        encoded = preprocessor.transform(pixel_store.model_arrays(block, contract))
        if block.num_rows == table.num_rows:
            inputs = encoded
        elif inputs is None:
            inputs = np.empty((table.num_rows, *encoded.shape[1:]), encoded.dtype)
        end = start + block.num_rows
        inputs[start:end] = encoded
        labels[start:end] = preprocessor.encode_labels(block[recipe.label].to_numpy())
    assert inputs is not None
    return inputs, labels
