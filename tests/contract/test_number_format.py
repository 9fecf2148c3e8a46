"""Numbers with grouped digits and signs, boolean cells, bins and normalized categories: a column
gives what its cells give one by one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from creche.contract import Column, Contract
from creche.contract.number_format import STATE_DECIMAL_MARK, STATE_SYMBOLS, STATE_THOUSANDS
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource, TableSource

NUMBER_TEXTS = st.text("0123456789.,' \u00a0-+$€%e", max_size=9)
NUMBER_COLUMNS = (
    Column("number", thousands=",", symbols=("$", "%")),
    Column("number", thousands=".", symbols=("€", "EUR")),
    Column("number", thousands=" ", decimal_mark=",", missing_values=("-", "1 000")),
    Column("number", thousands="'"),
    Column("number", symbols=("$", "US$", "%")),
    Column("bins", edges=(-1, 0.5, 1000), thousands=",", symbols=("$",)),
)
BOOLEAN_CELLS = st.sampled_from(
    ["yes", "No", "TRUE", "f", "1", "0", "1.0", "on", " y ", "2", "", "NA", "ja", "oui", "x"]
)


def assert_same_as_one_by_one(cells: Sequence[Any], array: pa.Array, column: Column) -> None:
    """Check that an Arrow column gives the values and reasons of its cells."""
    contract = Contract({"x": column})
    table = pa.table({"x": array})
    batch = TableReader(MemorySource.of(table, "x"), contract).read_all()
    values = batch.values["x"].to_pylist()
    for position, cell in enumerate(cells):
        reasons = [error.reason for error in batch.conversion_errors if error.mask[position]]
        try:
            expected = column.type.parse(cell, column)
        except ValueError as error:
            assert (values[position], reasons) == (None, [f"x: {error}"]), cell
        else:
            assert (values[position], reasons) == (expected, []), cell


@pytest.mark.parametrize("column", NUMBER_COLUMNS, ids=str)
@settings(max_examples=40, deadline=None)
@given(cells=st.lists(NUMBER_TEXTS, min_size=1, max_size=9))
@example(cells=["$1,234.50", "-$5", "$ -5", "12 %", "1,23,456", "1,2", "$", "$$3", "1,234,5"])
@example(cells=["1.234,5", "1.234", "1 234,5", "1\u00a0000", "1 000", "1'234.5", "EUR 3", "€"])
@example(cells=["below -1", "-1", "0.5", "1,000", "999.9", "$1,000", "1000 or more", "1e3"])
def test_grouped_digits_and_signs_are_read_in_arrays_as_one_by_one(
    column: Column, cells: list[str]
) -> None:
    assert_same_as_one_by_one(cells, pa.array(cells), column)
    assert_same_as_one_by_one(cells, pa.array(cells).dictionary_encode(), column)


@pytest.mark.parametrize(
    ("column", "cell", "number"),
    [
        (Column("number", symbols=("%",)), "12 %", 12.0),
        (Column("number", thousands=",", symbols=("$",)), "-$1,234.5", -1234.5),
        (Column("number", thousands=".", symbols=("€",)), "1.234,5 €", 1234.5),
        (Column("number", thousands=",", symbols=("₹",)), "₹1,23,456", 123456.0),
        (Column("number", thousands=" "), "1\u202f234", 1234.0),
        (Column("number", thousands="'"), "1’234.5", 1234.5),
    ],
)
def test_number_is_read_as_its_column_states(column: Column, cell: str, number: float) -> None:
    assert column.type.parse(cell, column) == number


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1.234,5", STATE_THOUSANDS),
        ("1,234", STATE_THOUSANDS),
        ("1 234", STATE_THOUSANDS),
        ("$5", STATE_SYMBOLS),
        ("12 %", STATE_SYMBOLS),
        ("1,5", STATE_DECIMAL_MARK),
        ("1,5,5", "not a number"),
        ("abc", "not a number"),
    ],
)
def test_undeclared_format_is_refused_with_the_key_to_state(cell: str, reason: str) -> None:
    assert Contract({"x": Column("number")}).row_violations({"x": cell}) == [f"x: {reason}"]
    assert_same_as_one_by_one([cell], pa.array([cell]), Column("number"))


@pytest.mark.parametrize("text", ["price\n12,5 %\n1.234,5 %\n", "price\n1.234,5 %\n"])
def test_decimal_mark_is_found_among_signs_and_grouped_digits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text.replace("\n", ";x\n"))
    contract = Contract({"price": Column("number", thousands=".", symbols=("%",))})
    values = TableReader(TableSource.local(path), contract).read_all().values["price"].to_pylist()
    assert values[-1] == 1234.5
    spaced = Contract({"price": Column("number", thousands=" ", symbols=("%",))})
    path.write_text("price;a\n12,5 %;x\n1 234,5 %;x\n")
    values = TableReader(TableSource.local(path), spaced).read_all().values["price"].to_pylist()
    assert values == [12.5, 1234.5]


@settings(max_examples=40, deadline=None)
@given(cells=st.lists(BOOLEAN_CELLS, min_size=1))
def test_booleans_are_read_in_arrays_as_one_by_one(cells: list[str]) -> None:
    for column in (
        Column("boolean"),
        Column("boolean", true_values=("ja", "oui", "2"), false_values=("x", "1")),
    ):
        assert_same_as_one_by_one(cells, pa.array(cells), column)
        assert_same_as_one_by_one(cells, pa.array(cells).dictionary_encode(), column)


@pytest.mark.parametrize(
    "cells",
    [
        [True, False, None],
        [1, 0, None, 2],
        [1.0, 0.0, 0.5],
        np.array([1, 0], np.float32),
        [b"yes", b"\xff"],
    ],
    ids=str,
)
def test_boolean_has_one_spelling_in_every_carrier(cells: Any) -> None:
    singly = [cell.item() if isinstance(cell, np.generic) else cell for cell in cells]
    assert_same_as_one_by_one(singly, pa.array(cells), Column("boolean"))
    column = Column("boolean")
    assert [column.type.parse(cell, column) for cell in (True, 0, "ON")] == [
        "true",
        "false",
        "true",
    ]


NAMES = st.text("aAbB İßẞ\u0308", max_size=5) | st.sampled_from(["new  york", "NEW YORK", "True"])


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(NAMES, min_size=1))
@example(cells=["New  York", "NEW YORK", "İ", "true", " new york "])
def test_categories_are_normalized_in_arrays_as_one_by_one(cells: list[str]) -> None:
    for values in (None, ("New York", "AB", "True")):
        for normalize in (("case",), ("spaces",), ("case", "spaces")):
            column = Column("category", values=values, normalize=normalize)
            assert_same_as_one_by_one(cells, pa.array(cells), column)
            assert_same_as_one_by_one(cells, pa.array(cells).dictionary_encode(), column)


def test_normalized_category_is_spelled_as_the_recipe_lists_it() -> None:
    column = Column("category", values=("New York", "Rome"), normalize=("case", "spaces"))
    spelled = [column.type.parse(cell, column) for cell in ("NEW   york", "rome", "Bern")]
    assert spelled == ["New York", "Rome", "bern"]
    assert Contract({"x": column}).row_violations({"x": "new york"}) == []


def test_bins_are_named_by_their_edges_and_include_the_lower_one() -> None:
    column = Column("bins", edges=(8, 11.5))
    assert column.allowed_values == ("below 8", "8 to below 11.5", "11.5 or more")
    values = [column.type.parse(cell, column) for cell in ("7.9", 8, "11.5", "8 to below 11.5")]
    assert values == ["below 8", "8 to below 11.5", "11.5 or more", "8 to below 11.5"]
    numbers = [7.9, 8.0, 11.4, 11.5, None]
    assert_same_as_one_by_one(numbers, pa.array(numbers), column)
    assert_same_as_one_by_one([0.3], pa.array([0.3], pa.float32()), Column("bins", edges=(0.3,)))
