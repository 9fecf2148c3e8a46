"""The splits: each row is in train, validation or holdout, by a hash of its group."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.data.row_keys import hash_rows
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
    _check_classes(count_by_split(table, recipe)[TRAIN], recipe)
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
    return hash_rows([table[name] for name in recipe.key_columns], recipe.split.seed)


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


def _check_classes(training: dict[str, int], recipe: Recipe) -> None:
    for name, rows in training.items():
        if not rows:
            raise DataError(
                f"no accepted row of {recipe.label} {name} is in the training split "
                f"({sum(training.values())} rows): add data, choose another split.seed, or remove "
                f"the value from columns.{recipe.label}.values"
            )


def count_by_split(table: pa.Table, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Return split → class → rows of a split table, zeros included."""
    classes = class_indices(table[recipe.label], recipe.classes)
    counts: dict[str, dict[str, int]] = {}
    for split_name in SPLIT_NAMES:
        is_in_split = np.asarray(pc.equal(table[SPLIT_COLUMN], split_name))
        rows = np.bincount(classes[is_in_split], minlength=len(recipe.classes)).tolist()
        counts[split_name] = dict(zip(recipe.classes, rows, strict=True))
    return counts


def class_indices(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> np.ndarray:
    """Return the index of each accepted label (n,) among the classes."""
    indices = pc.index_in(labels.cast(pa.string()), pa.array(classes))
    return np.asarray(indices)
