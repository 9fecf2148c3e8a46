"""The split: each row is on the train, validation or holdout side, by a hash of its group."""

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
SIDES = (TRAIN, VALIDATION, HOLDOUT)
SIDE_COLUMN = "side"
HASH_COLUMN = "group_hash"
HASH_RANGE = 2**64


def split_rows(accepted: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the accepted rows with the columns `side` and `group_hash`.

    Raises:
        DataError: no row is on one of the sides, or a class has no training row.
    """
    hashes = group_hashes(accepted, recipe)
    sides = assign_sides(hashes, recipe.split)
    if recipe.split.designated_holdout:
        name, value = recipe.split.designated_holdout
        is_holdout = pc.fill_null(pc.equal(accepted[name], value), False)
        sides[np.asarray(is_holdout)] = HOLDOUT
    _check_sides(sides, recipe.split)
    table = accepted.append_column(SIDE_COLUMN, pa.array(sides))
    table = table.append_column(HASH_COLUMN, pa.array(hashes))
    _check_classes(training_rows(table), recipe)
    return table


def rows_of(table: pa.Table, side: str) -> pa.Table:
    """Return the rows on one side of the split."""
    return table.filter(pc.equal(table[SIDE_COLUMN], side))


def training_rows(table: pa.Table) -> pa.Table:
    """Return the rows on the training side."""
    return rows_of(table, TRAIN)


def validation_rows(table: pa.Table) -> pa.Table:
    """Return the rows on the validation side."""
    return rows_of(table, VALIDATION)


def holdout_rows(table: pa.Table) -> pa.Table:
    """Return the rows on the holdout side."""
    return rows_of(table, HOLDOUT)


def rows_outside_holdout(table: pa.Table) -> pa.Table:
    """Return the rows that a model may be trained with: those of training and validation."""
    return table.filter(pc.not_equal(table[SIDE_COLUMN], HOLDOUT))


def group_hashes(table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Return a stable 64-bit hash of each row's group key (n,).

    The key is the recipe's group columns, else the content of its features (`row_keys`). The hash
    is of the seed and the key alone, so that appending rows changes no other row's side, and equal
    rows are on one side.
    """
    names = recipe.group or tuple(recipe.features)
    keys = row_keys([table[name] for name in names])
    hashes = [hash_row_key(key, recipe.split.seed) for key in keys]
    return np.array(hashes, dtype=np.uint64)


def assign_sides(hashes: np.ndarray, split: Split) -> np.ndarray:
    """Return the side of each hash (n,).

    The lowest share of the range is the holdout, the next is validation, and the rest is train:
    another share for validation moves no row into the holdout, or out of it.
    """
    position = hashes.astype(np.float64) / HASH_RANGE  # 0..1
    holdout_end = split.holdout_share
    validation_end = split.holdout_share + split.validation
    not_holdout = np.where(position < validation_end, VALIDATION, TRAIN)
    return np.where(position < holdout_end, HOLDOUT, not_holdout)


def _check_sides(sides: np.ndarray, split: Split) -> None:
    required = [HOLDOUT, VALIDATION, TRAIN] if split.validation else [HOLDOUT, TRAIN]
    for side in required:
        if side not in sides:
            raise DataError(
                f"none of the {len(sides)} accepted rows falls into the {side} part: "
                "more data, more groups, or another split.seed"
            )


def _check_classes(training: pa.Table, recipe: Recipe) -> None:
    labels = set(training[recipe.label].to_pylist())
    for name in recipe.classes:
        if name not in labels:
            raise DataError(
                f"no accepted row of {recipe.label} {name} falls on the training side "
                f"({training.num_rows} rows): more data, another split.seed, or fewer values "
                f"under columns.{recipe.label}"
            )


def count_by_side(table: pa.Table, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Return side → class → rows of a split table, zeros included."""
    sides = table[SIDE_COLUMN].to_pylist()
    labels = table[recipe.label].to_pylist()
    rows = Counter(zip(sides, labels, strict=True))
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        counts[side] = {name: rows[side, name] for name in recipe.classes}
    return counts
