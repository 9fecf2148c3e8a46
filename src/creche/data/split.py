"""The splits: each row is in train, validation or holdout, by a hash of its group."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.data.row_keys import hash_row_key, row_keys
from creche.errors import DataError
from creche.recipe import Recipe, Split

TRAIN = "train"
VALIDATION = "validation"
HOLDOUT = "holdout"
SPLIT_NAMES = (TRAIN, VALIDATION, HOLDOUT)
SPLIT_COLUMN = "split"
HASH_COLUMN = "group_hash"
HASH_RANGE = 2**64


def split_rows(accepted: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the accepted rows with the columns `split` and `group_hash`.

    Raises:
        DataError: a split is empty, or a class has no training row.
    """
    hashes = group_hashes(accepted, recipe)
    split_names = assign_splits(hashes, recipe.split)
    if recipe.split.designated_holdout:
        name, value = recipe.split.designated_holdout
        is_holdout = pc.fill_null(pc.equal(accepted[name], value), False)
        split_names[np.asarray(is_holdout)] = HOLDOUT
    _check_not_empty(split_names, recipe.split)
    table = accepted.append_column(SPLIT_COLUMN, pa.array(split_names))
    table = table.append_column(HASH_COLUMN, pa.array(hashes))
    _check_classes(training_rows(table), recipe)
    return table


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
    """Return the rows of the holdout split."""
    return rows_of(table, HOLDOUT)


def rows_outside_holdout(table: pa.Table) -> pa.Table:
    """Return the rows that a model may be trained with: those of training and validation."""
    return table.filter(pc.not_equal(table[SPLIT_COLUMN], HOLDOUT))


def group_hashes(table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Return a stable 64-bit hash of each row's group key (n,).

    The key is the recipe's group columns, else the content of its features (`row_keys`). The hash
    is of the seed and the key alone, so that appending rows changes no other row's split, and equal
    rows are in one split.
    """
    names = recipe.group or tuple(recipe.features)
    keys = row_keys([table[name] for name in names])
    hashes = [hash_row_key(key, recipe.split.seed) for key in keys]
    return np.array(hashes, dtype=np.uint64)


def assign_splits(hashes: np.ndarray, split: Split) -> np.ndarray:
    """Return the name of the split of each hash (n,).

    The lowest hashes are the holdout, the next ones validation, and the rest train:
    another size of validation moves no row into the holdout, or out of it.
    """
    position = hashes.astype(np.float64) / HASH_RANGE  # 0..1
    holdout_end = split.holdout_fraction
    validation_end = split.holdout_fraction + split.validation
    not_holdout = np.where(position < validation_end, VALIDATION, TRAIN)
    return np.where(position < holdout_end, HOLDOUT, not_holdout)


def _check_not_empty(split_names: np.ndarray, split: Split) -> None:
    required = [HOLDOUT, VALIDATION, TRAIN] if split.validation else [HOLDOUT, TRAIN]
    for split_name in required:
        if split_name not in split_names:
            raise DataError(
                f"none of the {len(split_names)} accepted rows is in the {split_name} split: add "
                "data or groups, or choose another split.seed"
            )


def _check_classes(training: pa.Table, recipe: Recipe) -> None:
    labels = set(training[recipe.label].to_pylist())
    for name in recipe.classes:
        if name not in labels:
            raise DataError(
                f"no accepted row of {recipe.label} {name} is in the training split "
                f"({training.num_rows} rows): add data, choose another split.seed, or remove the "
                f"value from columns.{recipe.label}.values"
            )


def count_by_split(table: pa.Table, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Return split → class → rows of a split table, zeros included."""
    split_names = table[SPLIT_COLUMN].to_pylist()
    labels = table[recipe.label].to_pylist()
    rows = Counter(zip(split_names, labels, strict=True))
    counts: dict[str, dict[str, int]] = {}
    for split_name in SPLIT_NAMES:
        counts[split_name] = {name: rows[split_name, name] for name in recipe.classes}
    return counts
