"""The splits: train, validation or holdout, by a hash of a row's group or by its time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.data.row_keys import hash_rows
from creche.data.time_periods import period_numbers, value_range
from creche.errors import DataError
from creche.recipe import Recipe, Split

TRAIN = "train"
VALIDATION = "validation"
HOLDOUT = "holdout"
LEFT_OUT = "left out"  # of a row that is in no split
SPLIT_NAMES = (TRAIN, VALIDATION, HOLDOUT)
SPLIT_COLUMN = "split"
HASH_COLUMN = "group_hash"
FOLD_COLUMN = "fold"  # of a cross-validation, from 0
HELD_OUT = "held_out"  # the column that names the holdout of a fold
HASH_RANGE = 2**64
# While rows are placed, each split is its position here, and a newer one is higher.
PLACES = (TRAIN, VALIDATION, HOLDOUT, LEFT_OUT)
PLACE_OF = {name: place for place, name in enumerate(PLACES)}
OTHER_WAYS = "choose another split.seed"
OTHER_PERIODS = "choose another split.period, holdout_periods or validation_periods"


def split_rows(accepted: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the accepted rows with the columns `split` and `group_hash`.

    Raises:
        DataError: a split is empty, or a class has no row in training or in the holdout.
    """
    hashes = group_hashes(accepted, recipe)
    places = place_rows(accepted, hashes, recipe)
    return add_split(accepted, places, hashes, recipe)


def add_split(rows: pa.Table, places: np.ndarray, hashes: np.ndarray, recipe: Recipe) -> pa.Table:
    """Return rows (n,) with their split and group hash, and their fold in a cross-validation."""
    rows = rows.append_column(SPLIT_COLUMN, place_names(places))
    rows = rows.append_column(HASH_COLUMN, pa.array(hashes))
    if recipe.split.folds is not None:
        rows = rows.append_column(FOLD_COLUMN, pa.array(folds_of(hashes, recipe.split.folds)))
    return rows


def folds_of(hashes: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each hash (n,), int8, from 0.

    It is read off the low bits of a hash, and the validation part off the high ones.
    """
    numbers: np.ndarray = (hashes % np.uint64(folds)).astype(np.int8)
    return numbers


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


def group_hashes(table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Return a stable 64-bit hash of each row's group key (n,).

    The key is the recipe's group columns, else the content of its features, and the time where the
    split is by time (`Recipe.key_columns`). The hash is of the seed and the key alone, so that
    appending rows changes no other row's split, and equal rows are in one split.
    """
    return hash_rows([table[name] for name in recipe.key_columns], recipe.split.seed)


def place_rows(rows: pa.Table, hashes: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return the place of each row (n,), int8: its position in `PLACES`.

    Args:
        rows: the accepted rows, of which `placing_columns` are read.
        hashes: `group_hashes` of the rows (n,).
        recipe: with the rule.

    Raises:
        DataError: a split is empty, or a class has no row in training or in the holdout.
    """
    if recipe.split.folds is not None:
        places = np.full(len(hashes), PLACE_OF[TRAIN], np.int8)
        _check_folds(hashes, rows, recipe)
        return places
    if recipe.split.time is not None:
        places = _places_by_time(rows, recipe)
    else:
        places = places_by_hash(hashes, recipe.split)
    if recipe.split.designated_holdout:
        name, value = recipe.split.designated_holdout
        is_holdout = pc.fill_null(pc.equal(rows[name], value), False)
        places[np.asarray(is_holdout)] = PLACE_OF[HOLDOUT]
    _check_not_empty(places, rows, recipe)
    _check_classes(places, hashes, rows, recipe)
    return places


def placing_columns(recipe: Recipe) -> list[str]:
    """Return the columns that `place_rows` reads."""
    names = [recipe.label]
    if recipe.split.time is not None:
        names += [recipe.split.time, *recipe.group]
    if recipe.split.designated_holdout is not None:
        names.append(recipe.split.designated_holdout[0])
    return list(dict.fromkeys(names))


def place_names(places: np.ndarray) -> pa.Array:
    """Return places (n,) by their names."""
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(PLACES)).cast(pa.string())


def places_by_hash(hashes: np.ndarray, split: Split) -> np.ndarray:
    """Return the place of each hash (n,).

    The lowest hashes are the holdout, the next ones validation, and the rest train:
    another size of validation moves no row into the holdout, or out of it.
    """
    position = hashes.astype(np.float64) / HASH_RANGE  # 0..1
    places = np.full(len(hashes), PLACE_OF[TRAIN], np.int8)
    places[position < split.holdout_fraction + split.validation] = PLACE_OF[VALIDATION]
    places[position < split.holdout_fraction] = PLACE_OF[HOLDOUT]
    return places


def _places_by_time(rows: pa.Table, recipe: Recipe) -> np.ndarray:
    """Return the place of each row (n,): the newest periods are the holdout.

    A group is in one split, that of its newest row; its rows in older splits are left out.
    """
    split = recipe.split
    assert split.time is not None
    assert split.period is not None
    periods = period_numbers(rows[split.time], split.period)
    newest = periods.max(initial=0)
    places = np.full(len(periods), PLACE_OF[TRAIN], np.int8)
    first_of_holdout = newest - split.holdout_periods + 1
    places[periods >= first_of_holdout - split.validation_periods] = PLACE_OF[VALIDATION]
    places[periods >= first_of_holdout] = PLACE_OF[HOLDOUT]
    if not recipe.group:
        return places
    hashes = hash_rows([rows[name] for name in recipe.group], split.seed)
    _, group_of_row = np.unique(hashes, return_inverse=True)
    place_of_group = np.zeros(len(hashes), np.int8)
    np.maximum.at(place_of_group, group_of_row, places)
    places[places < place_of_group[group_of_row]] = PLACE_OF[LEFT_OUT]
    return places


def _check_not_empty(places: np.ndarray, rows: pa.Table, recipe: Recipe) -> None:
    required = [HOLDOUT, VALIDATION, TRAIN] if recipe.split.has_validation else [HOLDOUT, TRAIN]
    for split_name in required:
        if (places == PLACE_OF[split_name]).any():
            continue
        message = f"none of the {len(places)} accepted rows is in the {split_name} split"
        if recipe.split.time is None:
            raise DataError(f"{message}: add data or groups, or {OTHER_WAYS}")
        first, last = value_range(rows[recipe.split.time])
        message += f" ({recipe.split.time} from {first} to {last}"
        left_out = int((places == PLACE_OF[LEFT_OUT]).sum())
        if left_out:
            message += f"; {left_out} rows are left out, since their group has a newer row"
        raise DataError(f"{message}): add older data, or {OTHER_PERIODS}")


def _check_classes(places: np.ndarray, hashes: np.ndarray, rows: pa.Table, recipe: Recipe) -> None:
    """Check that each class has a training row, and one in the holdout where the gate needs it."""
    classes = class_indices(rows[recipe.label], recipe.classes)
    required = [TRAIN]
    # A recall of 0 is reached without a row too.
    if recipe.gate.recall > 0:
        required.append(HOLDOUT)
    for split_name in required:
        in_split = classes[places == PLACE_OF[split_name]]
        counts = np.bincount(in_split, minlength=len(recipe.classes))
        for index in np.flatnonzero(counts == 0):
            of_class = classes == index
            n_groups = len(np.unique(hashes[of_class]))
            raise DataError(
                _class_is_missing(recipe, recipe.classes[index], split_name, of_class, n_groups)
            )


def _class_is_missing(
    recipe: Recipe, name: str, split_name: str, of_class: np.ndarray, n_groups: int
) -> str:
    """Return the message for a class without a row in a split, with the ways out."""
    values_key = f"columns.{recipe.label}.values"
    n_rows = int(of_class.sum())
    if not n_rows:
        return (
            f"no accepted row has {recipe.label} {name}: add such rows, or remove the value from "
            f"{values_key}"
        )
    others = OTHER_WAYS if recipe.split.time is None else OTHER_PERIODS
    return (
        f"the {split_name} split has none of the {n_rows} rows ({n_groups} groups) of "
        f"{recipe.label} {name}: add such rows, {others}, let the data name it together with "
        f"another class, or remove the value from {values_key}, which quarantines its rows"
    )


def _check_folds(hashes: np.ndarray, rows: pa.Table, recipe: Recipe) -> None:
    """Check that no fold is empty, and that each class is in two folds, so that every fold's model
    has rows of it.
    """
    assert recipe.split.folds is not None
    folds = folds_of(hashes, recipe.split.folds)
    n_used = len(np.unique(folds))
    if n_used < recipe.split.folds:
        raise DataError(
            f"the {len(np.unique(hashes))} groups of the {len(hashes)} accepted rows are in "
            f"{n_used} of {recipe.split.folds} folds: add data or groups, use fewer split.folds, "
            f"or {OTHER_WAYS}"
        )
    classes = class_indices(rows[recipe.label], recipe.classes)
    for index, name in enumerate(recipe.classes):
        of_class = classes == index
        if len(np.unique(folds[of_class])) < 2:
            n_groups = len(np.unique(hashes[of_class]))
            raise DataError(_class_is_missing(recipe, name, "training", of_class, n_groups))


def report_of(
    rows: pa.Table, places: np.ndarray, hashes: np.ndarray, recipe: Recipe
) -> dict[str, Any]:
    """Return the fields of a `SplitReport`."""
    report: dict[str, Any] = dict(count_by_place(rows[recipe.label], places, recipe))
    groups = {}
    times = {}
    for split_name in SPLIT_NAMES:
        is_in_split = places == PLACE_OF[split_name]
        groups[split_name] = len(np.unique(hashes[is_in_split]))
        if recipe.split.time is not None and is_in_split.any():
            first, last = value_range(rows[recipe.split.time].filter(pa.array(is_in_split)))
            times[split_name] = {"first": first, "last": last}
    report |= {"groups": groups, "times": times}
    if recipe.split.folds is not None:
        report["folds"] = _count_by_fold(rows, hashes, recipe)
    report["left_out"] = int((places == PLACE_OF[LEFT_OUT]).sum())
    return report


def _count_by_fold(rows: pa.Table, hashes: np.ndarray, recipe: Recipe) -> list[dict[str, int]]:
    """Return class → rows of each fold."""
    assert recipe.split.folds is not None
    folds = folds_of(hashes, recipe.split.folds)
    classes = class_indices(rows[recipe.label], recipe.classes)
    counts = []
    for fold in range(recipe.split.folds):
        of_fold = np.bincount(classes[folds == fold], minlength=len(recipe.classes)).tolist()
        counts.append(dict(zip(recipe.classes, of_fold, strict=True)))
    return counts


def count_by_place(
    labels: pa.ChunkedArray, places: np.ndarray, recipe: Recipe
) -> Mapping[str, dict[str, int]]:
    """Return split → class → rows, zeros included."""
    classes = class_indices(labels, recipe.classes)
    counts: dict[str, dict[str, int]] = {}
    for split_name in SPLIT_NAMES:
        in_split = classes[places == PLACE_OF[split_name]]
        rows = np.bincount(in_split, minlength=len(recipe.classes)).tolist()
        counts[split_name] = dict(zip(recipe.classes, rows, strict=True))
    return counts


def class_indices(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> np.ndarray:
    """Return the index of each accepted label (n,) among the classes."""
    indices = pc.index_in(labels.cast(pa.string()), pa.array(classes))
    return np.asarray(indices)
