"""The example of a reason is the cell of the file that the row comes from."""

import pyarrow as pa
import pytest

from creche.data.quarantine import example_of


def quarantine(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


@pytest.mark.parametrize("name", ["mass (g)", "mass", "mass: dry", "mass (g): dry (2)"])
@pytest.mark.parametrize("column", ["mass", "Mass (kg)", "source_input"])
def test_column_of_any_name_has_its_example(name: str, column: str) -> None:
    reason = f"{name}: below 2"
    rows = quarantine({"source": "a.csv", "row": 4, "reasons": [reason], column: "1"})
    columns_by_source = {"a.csv": {"mass": "other", name: column}}
    assert example_of(reason, rows, columns_by_source) == " (row 4: '1')"


def test_each_file_has_its_own_column() -> None:
    reason = "mass: below 2"
    rows = quarantine(
        {"source": "a.csv", "row": 1, "reasons": ["other: missing"], "Mass": "9", "kg": None},
        {"source": "a.csv", "row": 2, "reasons": [reason], "Mass": " ", "kg": None},
        {"source": "b.csv", "row": 3, "reasons": [reason], "Mass": "of another", "kg": "1"},
    )
    columns_by_source = {"a.csv": {"mass": "Mass"}, "b.csv": {"mass": "kg"}}
    assert example_of(reason, rows, columns_by_source) == " (b.csv, row 3: '1')"


@pytest.mark.parametrize("columns", [{}, {"mass": "gone"}, {"length": "kg"}])
def test_reason_without_a_cell_has_no_example(columns: dict[str, str]) -> None:
    rows = quarantine({"source": "a.csv", "row": 1, "reasons": ["mass: below 2"], "kg": "1"})
    assert example_of("mass: below 2", rows, {"a.csv": columns}) == ""
