"""The holdout rows that a model predicts as unknown, and what it does not know about them."""

from collections import Counter

import numpy as np
import pyarrow as pa

from creche.contract import UNKNOWN
from creche.model.artifact import Model
from creche.records import UnknownPredictions, UnseenValue


def unknown_predictions(
    model: Model, holdout: pa.Table, predicted: np.ndarray
) -> UnknownPredictions:
    """Return how many rows are predicted as unknown, and their values that training did not have.

    Args:
        model: that predicted them.
        holdout: the rows.
        predicted: labels (n,).
    """
    is_unknown = predicted == UNKNOWN
    unseen_values = []
    for name, encoder in model.category_encoders.items():
        column = model.contract.columns[name]
        rows_by_value = Counter(column.type.model_array(holdout[name], column)[is_unknown])
        for value, rows in sorted(rows_by_value.items()):
            if not encoder.takes(value):
                unseen_values.append(UnseenValue(column=name, value=value, rows=rows))
    unseen_values.sort(key=lambda unseen: -unseen.rows)
    return UnknownPredictions(rows=int(is_unknown.sum()), unseen_values=unseen_values)
