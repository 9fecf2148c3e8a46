"""Prediction sets as text."""

import numpy as np
import pyarrow as pa
import pytest

from creche.scoring.prediction_sets import MAX_LISTED_CLASSES, PredictionSetColumn


@pytest.mark.parametrize(
    "count", [2, 3, MAX_LISTED_CLASSES, MAX_LISTED_CLASSES + 1, 10, 16, 17, 100]
)
@pytest.mark.parametrize("rows", [0, 1, 500])
def test_every_set_is_its_classes_joined(count: int, rows: int) -> None:
    classes = tuple(f"c{i}" for i in range(count))
    sets = np.random.default_rng(count).random((rows, count)) < 0.3
    column = PredictionSetColumn(classes)
    encoded = column.encode(sets)
    expected = []
    for row in sets:
        expected.append("|".join(c for c, is_in_set in zip(classes, row, strict=True) if is_in_set))
    assert encoded.type == column.arrow_type
    assert encoded.to_pylist() == expected


def test_few_classes_are_a_dictionary_and_many_are_text() -> None:
    few = PredictionSetColumn(tuple("abcdefg"))
    assert few.arrow_type == pa.dictionary(pa.int8(), pa.string())
    assert PredictionSetColumn(tuple("abcdefgh")).arrow_type == pa.string()
