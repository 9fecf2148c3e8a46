"""One contract, three executors: Great Expectations, Arrow masks, and one row at a time give the
same reasons.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.projects import BIRD, PENGUINS, ROOT

from creche.contract import Column, Contract, parse_number
from creche.contract.arrow_cells import PLAIN, to_numbers, to_texts
from creche.data.expectations import validate_frame
from creche.data.quarantine import reasons_by_row
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError
from creche.recipe import load

CONTRACT = load("penguins", ROOT).contract()
BAD_CELLS = [
    "",
    "NA",
    "NAN",
    "-nan",
    "nan(1)",
    "1e39",
    " nan ",
    "inf",
    "-inf",
    "Infinity",
    "-5",
    "0",
    "3.7",
    "1e9",
    "abc",
    "1_000",
    "0x1A",
    "Mars",
    "Biscoe ",
]


EDITS = st.lists(
    st.tuples(
        st.integers(0, 343), st.integers(0, 16), st.sampled_from(BAD_CELLS) | st.text(max_size=6)
    ),
    max_size=99,
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(EDITS)
def test_three_executors_refuse_the_same_rows_for_the_same_reasons(
    edits: list[tuple[int, int, str]],
) -> None:
    reasons = reasons_of_three_executors(edits, CONTRACT)
    assert sum(map(bool, reasons)) >= 2  # the two birds that nobody measured


@settings(max_examples=6, deadline=None, derandomize=True)
@given(EDITS)
def test_three_executors_agree_where_values_may_be_missing(
    edits: list[tuple[int, int, str]],
) -> None:
    columns = {}
    for name, column in CONTRACT.columns.items():
        columns[name] = replace(column, missing="allow")
    reasons = reasons_of_three_executors(edits, Contract(columns))
    assert not any(reason.endswith(": missing") for of_row in reasons for reason in of_row)


def test_column_of_missing_values_alone_breaks_no_rule_where_they_are_allowed() -> None:
    for column in (
        Column("number", min=1, max=2, missing="allow", required=True),
        Column("category", values=("a", "b"), missing="allow", required=True),
    ):
        contract = Contract({"x": column})
        cells, _ = column.type.convert(pa.array(["", "NA", None], pa.string()), column, PLAIN)
        for rule in contract.rules():
            mask = rule.mask(cells)
            assert mask is None or not mask.any()
        assert validate_frame(pd.DataFrame({"x": cells.to_pandas()}), contract) == []
        assert contract.row_violations({"x": "NA"}) == []


def reasons_of_three_executors(
    edits: list[tuple[int, int, str]], contract: Contract
) -> list[list[str]]:
    """Return the reasons to refuse each of the edited rows, in which all three executors agree."""
    given_rows = pd.read_csv(PENGUINS, dtype=str, keep_default_na=False)
    for row, column, cell in edits:
        given_rows.iat[row, column % given_rows.shape[1]] = cell.encode(errors="replace").decode()
    with tempfile.TemporaryDirectory() as folder:
        given_rows.to_csv(Path(folder, "x.csv"), index=False)
        table = TableReader(TableSource.local(Path(folder, "x.csv")), contract)
        batch = table.read_all()
    masks = reasons_by_row(batch.check(contract), len(batch.row_numbers)).to_pylist()
    frame = pd.DataFrame({n: v.to_pandas() for n, v in batch.values.items()})
    expectations = reasons_by_row(
        batch.merge(validate_frame(frame, contract)), len(batch.row_numbers)
    ).to_pylist()
    singly = [
        contract.row_violations({n: row[g] for n, g in table.resolved.items()})
        for row in batch.cells.to_pylist()
    ]
    assert masks == expectations == singly
    return masks


@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.floats().map(str), st.sampled_from(BAD_CELLS)),
        max_size=20,
    )
)
def test_vectorised_number_is_the_number_of_each_cell(cells: list[str]) -> None:
    values, wrong = to_numbers(pa.array(cells, pa.string()))
    for i, cell in enumerate(cells):
        reasons = [reason for reason, mask in wrong if mask[i]]
        try:
            expected = parse_number(cell)
        except ValueError as error:
            assert (values[i].as_py(), reasons) == (None, [str(error)])
        else:
            assert (values[i].as_py(), reasons) == (expected, [])


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(width=32), st.integers(-(2**40), 2**40)), max_size=20)
)
def test_numbers_of_typed_columns_pass_as_they_are(cells: list[float | None]) -> None:
    values, wrong = to_numbers(
        pa.array([None if c is None else float(c) for c in cells], pa.float64())
    )
    bad = [any(mask[i] for _, mask in wrong) for i in range(len(cells))]
    for value, cell, refused in zip(values.to_pylist(), cells, bad, strict=True):
        if refused:
            assert cell in (float("inf"), float("-inf"))
        else:
            assert value == cell or (value is None and (cell is None or cell != cell))


def test_row_of_every_kind_of_fault_names_each() -> None:
    reasons = CONTRACT.subset(BIRD).row_violations(
        {**BIRD, "island": "Signy", "bill_depth_mm": "", "body_mass_g": "4.2"}
    )
    assert reasons == [
        "island: not one of Biscoe, Dream, Torgersen",
        "bill_depth_mm: missing",
        "body_mass_g: below 2000 g",
    ]


def test_names_of_the_wild_find_their_column() -> None:
    header = ["Island", "CulmenLength", "Culmen Depth (mm)", "flipper length mm", "BODY_MASS_G"]
    assert list(CONTRACT.subset(BIRD).resolve(header, "x")) == list(BIRD)


@pytest.mark.parametrize(
    ("given", "factor"),
    [
        ("body_mass_kg", 1000),
        ("BodyMass (kg)", 1000),
        ("body mass g", 1),
        ("CulmenLength_cm", 10),
        ("Beak Length (cm)", 10),
    ],
)
def test_units_that_the_recipe_declares_are_understood(
    given: str, factor: float, tmp_path: Path
) -> None:
    name = "body_mass_g" if "mass" in given.lower() else "bill_length_mm"
    (tmp_path / "x.csv").write_text(f"{given}\n3.7\nabc\n")
    table = TableReader(TableSource.local(tmp_path / "x.csv"), CONTRACT.subset([name]))
    batch = table.read_all()
    assert batch.values[name].to_pylist() == [pytest.approx(3.7 * factor), None]
    assert table.renamed == {given: name + (f" (× {factor})" if factor != 1 else "")}
    assert reasons_by_row(batch.check(table.contract), 2).to_pylist()[1] == [
        f"{name}: not a number"
    ]


@pytest.mark.parametrize(("name", "unit"), [("arm", "m"), ("arm_m", "m"), ("drawing", "g")])
def test_name_that_ends_with_the_letters_of_its_unit_takes_a_further_unit(
    name: str, unit: str
) -> None:
    contract = Contract({name: Column("number", unit=unit, units={"cm": 0.01}, required=True)})
    header_name = f"{name.removesuffix('_m')}_cm"
    assert contract.resolve([header_name], "x.csv") == {name: header_name}
    assert contract.unit_factor(name, header_name) == 0.01


def test_column_under_two_names_is_refused() -> None:
    with pytest.raises(
        ContractError,
        match=r"x.csv: columns 'CulmenLength' and 'bill_length_mm' are both bill_length_mm",
    ):
        CONTRACT.subset(["bill_length_mm"]).resolve(["CulmenLength", "bill_length_mm"], "x.csv")


def test_missing_column_is_named_with_the_likely_one() -> None:
    with pytest.raises(ContractError, match=r"missing column island \('ilsand' may be island"):
        CONTRACT.subset(["island"]).resolve(["ilsand"], "x.csv")


def test_contract_survives_its_json() -> None:
    assert Contract.from_dict(CONTRACT.to_dict()) == CONTRACT
    holes = Contract({"city": Column("category", missing="allow", unseen="other", required=True)})
    assert Contract.from_dict(holes.to_dict()) == holes
    # Stated as none, where the default is several.
    stated = Contract({"grade": Column("category", missing_values=(), min=None)})
    assert Contract.from_dict(stated.to_dict()) == stated


def test_categories_of_every_type_become_text(tmp_path: Path) -> None:
    table = pa.table(
        {"i": [3, None], "f": [3.0, 2.5], "d": pa.array(["3", "x"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    read = pq.read_table(tmp_path / "x.parquet")
    cells = [to_texts(read[n].combine_chunks())[0].to_pylist() for n in ("i", "f", "d")]
    assert cells == [["3", None], ["3", "2.5"], ["3", "x"]]


def test_missing_category_of_a_table_in_chunks_is_the_empty_text_for_a_model() -> None:
    chunk = pa.array(["north", None, "south"]).dictionary_encode()
    other = pa.array([None, "east"]).dictionary_encode()
    column = Column(kind="category", missing="allow")
    array = column.type.model_array(pa.chunked_array([chunk, other]), column)
    assert array.tolist() == ["north", "", "south", "", "east"]
