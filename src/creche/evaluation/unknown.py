"""The holdout rows that a model predicts as unknown, and what it does not know about them."""

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
    for column, vocabulary in model.vocabularies.items():
        values, counts = np.unique(
            holdout[column].to_numpy()[is_unknown].astype(str), return_counts=True
        )
        for value, rows in zip(values.tolist(), counts.tolist(), strict=True):
            if value not in vocabulary:
                unseen_values.append(UnseenValue(column=column, value=value, rows=rows))
    unseen_values.sort(key=lambda unseen: -unseen.rows)
    return UnknownPredictions(rows=int(is_unknown.sum()), unseen_values=unseen_values)
