"""Behavior tests: invariance and directional expectation tests on changed holdout rows.

Ribeiro et al., 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import UNKNOWN
from creche.contract.cells import MISSING_TEXT
from creche.model.artifact import Model, Predictions
from creche.model.encoders import MAX_PIXEL
from creche.recipe import SAME_LABEL, BehaviorTest, Change, LinearPerturbation
from creche.records import BehaviorResult


def run_behavior_test(
    test: BehaviorTest,
    model: Model,
    rows: pa.Table,
    inputs: Mapping[str, np.ndarray],
    predictions: Predictions,
) -> BehaviorResult:
    """Change the rows as the test says, predict again, and return the share that behaves as
    expected.

    Args:
        test: of the recipe.
        model: that is tested.
        rows: the holdout.
        inputs: the model's input arrays of those rows.
        predictions: of the unchanged rows.
    """
    is_selected = _rows_with(test.where, rows)
    share = None
    if is_selected.any():
        changed = {name: array[is_selected] for name, array in inputs.items()}
        for name, change in test.change.items():
            changed[name] = _changed(changed[name], change)
        labels = model.predict(changed).labels
        is_invariance_test = test.expect == SAME_LABEL
        expected = predictions.labels[is_selected] if is_invariance_test else test.expect
        share = float((labels == expected).mean())
    return BehaviorResult(
        name=test.name,
        expected=_in_words(test.expect),
        rows=int(is_selected.sum()),
        share=share,
        threshold=test.share,
    )


def _rows_with(values: Mapping[str, str], rows: pa.Table) -> np.ndarray:
    """Return the mask (n,) of the rows that have the values: column → value."""
    mask = np.ones(rows.num_rows, bool)
    for name, value in values.items():
        mask &= np.asarray(pc.fill_null(pc.equal(rows[name], value), False))
    return mask


def _in_words(expected: str) -> str:
    if expected == SAME_LABEL:
        return "keep their label"
    if expected == UNKNOWN:
        return "are predicted as 'unknown'"
    return f"become {expected}"


def _changed(values: np.ndarray, change: Change) -> np.ndarray:
    """Return what a column, (n,) or pixels (n, height, width, channels), becomes."""
    is_image = values.ndim == 4
    if is_image and isinstance(change, LinearPerturbation):
        return np.clip(values * change.times + change.add, 0, MAX_PIXEL).astype(np.uint8)
    if is_image:
        # The only other change of an image is its mirror image.
        return values[:, :, ::-1]
    if isinstance(change, LinearPerturbation):
        return np.asarray(values * change.times + change.add)
    if change is None:
        missing = np.nan if values.dtype.kind == "f" else MISSING_TEXT
        return np.full(len(values), missing, values.dtype)
    dtype = object if isinstance(change, str) else np.float64
    return np.full(len(values), change, dtype)
