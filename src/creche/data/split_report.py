"""Rows, groups and times of each split and fold, for the record of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from creche.data.placement import PLACE_OF, folds_of
from creche.data.split import LEFT_OUT, SPLIT_NAMES, class_indices
from creche.data.time_periods import value_range
from creche.recipe import Recipe


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
