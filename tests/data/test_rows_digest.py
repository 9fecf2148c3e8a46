"""The digest of rows: another order is the same, and any other change is another."""

import random
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creche.data.rows_digest import RowsDigest

CELL = st.one_of(st.none(), st.sampled_from(["", "a", "b", "\0"]))
ROWS = st.lists(st.tuples(CELL, st.one_of(st.none(), st.integers(-2, 2))), max_size=8)
SCHEMA = pa.schema([("x", pa.string()), ("y", pa.float64())])


def digest(rows: list[tuple[Any, ...]], block_rows: int = 3, schema: pa.Schema = SCHEMA) -> str:
    result = RowsDigest(schema)
    for start in range(0, len(rows), block_rows):
        block = rows[start : start + block_rows]
        columns = []
        for field, cells in zip(schema, zip(*block, strict=True), strict=True):
            columns.append(pa.array(cells, field.type))
        result.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    return result.hexdigest()


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_and_blocks_do_not_count(
    rows: list[tuple[Any, ...]], block_rows: int, shuffle: random.Random
) -> None:
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    assert digest(shuffled, block_rows) == digest(rows)


@settings(max_examples=30, deadline=None)
@given(ROWS, ROWS)
def test_other_rows_have_another_digest(
    first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]
) -> None:
    are_same = sorted(map(repr, first)) == sorted(map(repr, second))
    assert (digest(first) == digest(second)) == are_same


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        [1, 2],
        [date(2020, 1, 1), date(2020, 1, 2)],
        [datetime(2020, 1, 1, 1), datetime(2020, 1, 1, 2)],
        [Decimal("1.10"), Decimal("1.11")],
        [b"a", b"b"],
        [{"a": 1}, {"a": 2}],
        [[1], [2]],
    ],
)
def test_each_type_has_a_digest(values: list[Any]) -> None:
    schema = pa.schema([("x", pa.array(values).type)])
    digests = {digest([(value,)], schema=schema) for value in [*values, None]}
    assert len(digests) == 3
    assert digest([(value,) for value in values], schema=schema) not in digests
