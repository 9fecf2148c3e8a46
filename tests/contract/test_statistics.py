"""Baseline statistics of a number, however narrow or wide its range is."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from creche.contract import COLUMN_TYPES
from creche.contract.cells import FLOAT32_MAX

numbers = st.floats(-FLOAT32_MAX, FLOAT32_MAX)


@given(values=st.lists(numbers, min_size=1))
@example(values=[0.3, 0.30000000000000004])
@example(values=[1e20])
@example(values=[1e16, 1e16 + 2])
@example(values=[-FLOAT32_MAX, FLOAT32_MAX])
@example(values=[5e-324, 0.0])
def test_histogram_counts_every_row_in_increasing_bins(values: list[float]) -> None:
    statistics = COLUMN_TYPES["number"].statistics(np.array(values))
    counts, edges = statistics["histogram"]["counts"], statistics["histogram"]["edges"]
    assert sum(counts) == statistics["rows"] == len(values)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= statistics["min"] <= statistics["max"] <= edges[-1]


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [7.0, 7.0]])
def test_histogram_is_numpys_where_the_range_can_be_divided(values: list[float]) -> None:
    statistics = COLUMN_TYPES["number"].statistics(np.array(values))
    counts, edges = np.histogram(values, bins=20)
    assert statistics["histogram"]["counts"] == counts.tolist()
    assert statistics["histogram"]["edges"] == edges.tolist()
