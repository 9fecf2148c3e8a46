"""The slices of the holdout that the gate names."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.data.split import holdout_rows
from creche.recipe import Recipe
from creche.records import SliceMetrics

MISSING_VALUE = "(missing)"  # the value of the slice whose rows have none


class Slice(NamedTuple):
    """The holdout rows where a column has one value."""

    column: str
    value: str
    mask: np.ndarray  # (n,) of the holdout rows


def holdout_slices(table: pa.Table, recipe: Recipe) -> list[Slice]:
    """Return every slice that the gate names.

    The values are those of the contract, else those of all accepted rows, so that a value that the
    holdout lacks is a slice too. The rows without a value are one more slice, where the recipe
    allows them and there are some.

    Args:
        table: all accepted rows with their split.
    """
    holdout = holdout_rows(table)
    slices = []
    for column in recipe.gate.slices:
        present = sorted(pc.unique(table[column]).drop_null().to_pylist())
        for value in recipe.columns[column].allowed_values or present or ["of any value"]:
            mask = np.asarray(pc.fill_null(pc.equal(holdout[column], value), False))
            slices.append(Slice(column, value, mask))
        if recipe.columns[column].missing == "allow" and table[column].null_count:
            slices.append(Slice(column, MISSING_VALUE, np.asarray(holdout[column].is_null())))
    return slices


def slice_metrics(slices: list[Slice], is_correct: np.ndarray) -> list[SliceMetrics]:
    """Return the accuracy on each slice; None where the holdout has no row of it.

    Args:
        is_correct: mask (n,) of the holdout rows that are predicted correctly.
    """
    metrics = []
    for column, value, mask in slices:
        accuracy = float(is_correct[mask].mean()) if mask.any() else None
        metrics.append(
            SliceMetrics(column=column, value=value, rows=int(mask.sum()), accuracy=accuracy)
        )
    return metrics
