"""Step preprocess: split the accepted rows, and fit the preprocessor on the training rows alone."""

import pyarrow as pa
import pyarrow.parquet as pq

from creche.data import pixel_store
from creche.data.split import (
    HASH_COLUMN,
    SPLIT_COLUMN,
    count_by_split,
    split_rows,
    training_rows,
)
from creche.model.preprocessor import Preprocessor
from creche.project import ACCEPTED, PREPROCESSOR, SPLIT, RunPaths, atomic_write, write_json
from creche.recipe import Recipe
from creche.records import SplitReport

INPUTS = (ACCEPTED,)
OUTPUTS = (SPLIT, PREPROCESSOR)


def run(recipe: Recipe, paths: RunPaths) -> SplitReport:
    """Write the split rows and the fitted preprocessor; return the rows by split and class."""
    accepted = pq.read_table(paths / ACCEPTED)
    table, preprocessor = preprocess(pixel_store.read_table(paths / ACCEPTED, paths), recipe)
    # `accepted` has positions in the pixel store where `table` has the pixels themselves.
    split = accepted.append_column(SPLIT_COLUMN, table[SPLIT_COLUMN])
    split = split.append_column(HASH_COLUMN, table[HASH_COLUMN])
    with atomic_write(paths / SPLIT) as temporary:
        pq.write_table(split, temporary)
    counts = count_by_split(table, recipe)
    write_json(paths / PREPROCESSOR, {**preprocessor.to_dict(), "counts": counts})
    return SplitReport(**counts)


def preprocess(accepted: pa.Table, recipe: Recipe) -> tuple[pa.Table, Preprocessor]:
    """Split the accepted rows, and fit the preprocessor on the training split.

    Returns:
        The rows with `split` and `group_hash`, and the preprocessor.

    Raises:
        DataError: a split is empty, a class has no training row, or a feature no value in any.
    """
    table = split_rows(accepted, recipe)
    contract = recipe.contract().subset(recipe.features)
    columns = pixel_store.model_arrays(training_rows(table), contract)
    return table, Preprocessor.fit(recipe.features, recipe.classes, columns, contract)
