"""Place each row in a split, by a hash of its group or by its time, or in a fold."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.data.placement_checks import check_classes, check_folds, check_not_empty
from creche.data.row_keys import hash_rows
from creche.data.split import (
    FOLD_COLUMN,
    HASH_COLUMN,
    HOLDOUT,
    LEFT_OUT,
    SPLIT_COLUMN,
    TRAIN,
    VALIDATION,
)
from creche.data.time_periods import period_numbers
from creche.recipe import Recipe, Split

HASH_RANGE = 2**64
# While rows are placed, each split is its position here, and a newer one is higher.
PLACES = (TRAIN, VALIDATION, HOLDOUT, LEFT_OUT)
PLACE_OF = {name: place for place, name in enumerate(PLACES)}


def split_rows(accepted: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the accepted rows with the columns `split` and `group_hash`.

    Raises:
        DataError: a split is empty, or a class has no row in training or in the holdout.
    """
    hashes = group_hashes(accepted, recipe)
    places = place_rows(accepted, hashes, recipe)
    return add_split(accepted, places, hashes, recipe)


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
        check_folds(folds_of(hashes, recipe.split.folds), hashes, rows, recipe)
        return places
    if recipe.split.time is not None:
        places = _places_by_time(rows, recipe)
    else:
        places = places_by_hash(hashes, recipe.split)
    if recipe.split.designated_holdout:
        name, value = recipe.split.designated_holdout
        is_holdout = pc.fill_null(pc.equal(rows[name], value), False)
        places[np.asarray(is_holdout)] = PLACE_OF[HOLDOUT]
    in_split = {name: places == place for name, place in PLACE_OF.items()}
    check_not_empty(in_split, rows, recipe)
    check_classes(in_split, hashes, rows, recipe)
    return places


def placing_columns(recipe: Recipe) -> list[str]:
    """Return the columns that `place_rows` reads."""
    names = [recipe.label]
    if recipe.split.time is not None:
        names += [recipe.split.time, *recipe.group]
    if recipe.split.designated_holdout is not None:
        names.append(recipe.split.designated_holdout[0])
    return list(dict.fromkeys(names))


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


def folds_of(hashes: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each hash (n,), int8, from 0.

    It is read off the low bits of a hash, and the validation part off the high ones.
    """
    numbers: np.ndarray = (hashes % np.uint64(folds)).astype(np.int8)
    return numbers


def add_split(rows: pa.Table, places: np.ndarray, hashes: np.ndarray, recipe: Recipe) -> pa.Table:
    """Return rows (n,) with their split and group hash, and their fold in a cross-validation."""
    rows = rows.append_column(SPLIT_COLUMN, place_names(places))
    rows = rows.append_column(HASH_COLUMN, pa.array(hashes))
    if recipe.split.folds is not None:
        rows = rows.append_column(FOLD_COLUMN, pa.array(folds_of(hashes, recipe.split.folds)))
    return rows


def place_names(places: np.ndarray) -> pa.Array:
    """Return places (n,) by their names."""
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(PLACES)).cast(pa.string())
