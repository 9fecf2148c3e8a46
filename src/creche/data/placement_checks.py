"""What a split must have of rows and classes, each with the way out where it has not."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from creche.data.split import HOLDOUT, LEFT_OUT, TRAIN, VALIDATION, class_indices
from creche.data.time_periods import value_range
from creche.errors import DataError
from creche.recipe import Recipe

OTHER_SEED = "choose another split.seed"
OTHER_PERIODS = "choose another split.period, holdout_periods or validation_periods"
# Split → mask (n,) of its rows.
SplitMasks = Mapping[str, np.ndarray]


def check_not_empty(in_split: SplitMasks, rows: pa.Table, recipe: Recipe) -> None:
    """Check that each split that the recipe asks for has a row.

    Raises:
        DataError: one has none.
    """
    required = [HOLDOUT, VALIDATION, TRAIN] if recipe.split.has_validation else [HOLDOUT, TRAIN]
    for split_name in required:
        if in_split[split_name].any():
            continue
        message = f"none of the {rows.num_rows} accepted rows is in the {split_name} split"
        if recipe.split.time is None:
            raise DataError(f"{message}: add data or groups, or {OTHER_SEED}")
        first, last = value_range(rows[recipe.split.time])
        message += f" ({recipe.split.time} from {first} to {last}"
        left_out = int(in_split[LEFT_OUT].sum())
        if left_out:
            message += f"; {left_out} rows are left out, since their group has a newer row"
        raise DataError(f"{message}): add older data, or {OTHER_PERIODS}")


def check_classes(in_split: SplitMasks, hashes: np.ndarray, rows: pa.Table, recipe: Recipe) -> None:
    """Check that each class has a training row, and one in the holdout where the gate needs it.

    Raises:
        DataError: one has none.
    """
    classes = class_indices(rows[recipe.label], recipe.classes)
    required = [TRAIN]
    # A recall of 0 asks for no row.
    if recipe.gate.recall > 0:
        required.append(HOLDOUT)
    for split_name in required:
        counts = np.bincount(classes[in_split[split_name]], minlength=len(recipe.classes))
        for index in np.flatnonzero(counts == 0):
            of_class = classes == index
            message = f"the {split_name} split has none"
            raise DataError(_class_message(message, recipe, int(index), of_class, hashes))


def check_folds(folds: np.ndarray, hashes: np.ndarray, rows: pa.Table, recipe: Recipe) -> None:
    """Check that no fold is empty, and that each class is in two folds, so that every fold's model
    has rows of it.

    Args:
        folds: of each row (n,), from 0.
        hashes: of the groups of the rows (n,).
        rows: with the label (n,).
        recipe: with the number of folds.

    Raises:
        DataError: a fold is empty, or a class is in one fold only.
    """
    n_used = len(np.unique(folds))
    if n_used != recipe.split.folds:
        raise DataError(
            f"the {len(np.unique(hashes))} groups of the {rows.num_rows} accepted rows are in "
            f"{n_used} of {recipe.split.folds} folds: add data or groups, use fewer split.folds, "
            f"or {OTHER_SEED}"
        )
    classes = class_indices(rows[recipe.label], recipe.classes)
    for index in range(len(recipe.classes)):
        of_class = classes == index
        if len(np.unique(folds[of_class])) < 2:
            message = "one fold has all, so that the model of that fold would have none,"
            raise DataError(_class_message(message, recipe, int(index), of_class, hashes))


def _class_message(
    problem: str, recipe: Recipe, index: int, of_class: np.ndarray, hashes: np.ndarray
) -> str:
    """Return the message for a class with too few rows, with the ways out.

    Args:
        problem: before "of the … rows".
        recipe: with label and split.
        index: of the class.
        of_class: mask (n,) of its rows.
        hashes: of the groups of all rows (n,).
    """
    name = recipe.classes[index]
    values_key = f"columns.{recipe.label}.values"
    n_rows = int(of_class.sum())
    if not n_rows:
        return (
            f"no accepted row has {recipe.label} {name}: add such rows, or remove the value from "
            f"{values_key}"
        )
    n_groups = len(np.unique(hashes[of_class]))
    other_split = OTHER_SEED if recipe.split.time is None else OTHER_PERIODS
    if recipe.split.time is None and recipe.split.folds is None:
        other_split += " or split.folds"
    return (
        f"{problem} of the {n_rows} rows ({n_groups} groups) of {recipe.label} {name}: add such "
        f"rows, {other_split}, let the data name it together with another class, or remove the "
        f"value from {values_key}, which quarantines its rows"
    )
