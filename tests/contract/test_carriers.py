"""A value is the same whatever carries it: text, a number of any width, a decimal, bytes."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creche.contract import Column, Contract
from creche.contract.arrow_cells import CellFormat, to_numbers, to_texts
from creche.contract.cells import convert_unit, parse_number, parse_text
from creche.contract.decimals import convert_units, shortest_decimals
from creche.data.row_keys import key_blocks
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource, TableSource
from creche.errors import DataError

PER_TEST_FOLDER = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25
)
CONTRACT = Contract(
    {
        "mass_kg": Column("number", unit="kg", units={"g": 0.001, "t": 1000.0}),
        "code": Column("category", values=("1", "2", "3")),
        "grade": Column("category", values=("0.5", "1.0", "1.5")),
        "flag": Column("category", values=("True", "False")),
        "city": Column("category", values=("New York", "A/B", "São Paulo")),
        "note": Column("category"),
    }
)
# Decimals of up to six significant digits, which a float32 holds.
MASSES = st.integers(-999_999, 999_999).map(lambda whole: Decimal(whole).scaleb(-3))


def read(path: Path, contract: Contract) -> dict[str, list[Any]]:
    batch = TableReader(TableSource.local(path), contract).read_all()
    assert not batch.conversion_errors
    return {name: values.to_pylist() for name, values in batch.values.items()}


def keys_of(path: Path, contract: Contract) -> list[Any]:
    batch = TableReader(TableSource.local(path), contract).read_all()
    return row_keys(list(batch.values.values()))


def row_keys(columns: list[pa.Array]) -> list[str]:
    return [key for keys in key_blocks(columns) for key in keys.to_pylist()]


def write_masses(masses: list[Decimal], folder: Path) -> list[Path]:
    """Write the same masses in every way that a file can carry them."""
    floats = [float(mass) for mass in masses]
    in_grams = [float(mass * 1000) for mass in masses]
    texts = [str(mass) for mass in masses]
    arrays = {
        "float64": pa.array(floats, pa.float64()),
        "float32": pa.array(np.array(floats, np.float32)),
        "decimal": pa.array(masses, pa.decimal128(12, 3)),
        "decimal256": pa.array(masses, pa.decimal256(50, 5)),
        "dictionary": pa.array(floats).dictionary_encode(),
        "text": pa.array(texts),
        "bytes": pa.array([text.encode() for text in texts]),
    }
    paths = []
    for name, array in arrays.items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(pa.table({"mass_kg": array}), paths[-1])
    paths.append(folder / "grams.parquet")
    pq.write_table(pa.table({"mass_g": pa.array(in_grams)}), paths[-1])
    paths.append(folder / "tonnes.parquet")
    in_tonnes = np.array([float(mass / 1000) for mass in masses], np.float32)
    pq.write_table(pa.table({"mass_t": pa.array(in_tonnes)}), paths[-1])
    paths.append(folder / "text.csv")
    paths[-1].write_text("mass_kg\n" + "".join(f"{text}\n" for text in texts))
    paths.append(folder / "text.jsonl")
    paths[-1].write_text("".join(json.dumps({"mass_kg": mass}) + "\n" for mass in floats))
    paths.append(folder / "comma.csv")
    rows = [f"1;{text.replace('.', ',')}\n" for text in texts]
    # One number that can only be a decimal, so that the file's mark is certain.
    paths[-1].write_text("code;mass_kg\n" + "".join([*rows, "1;0,5\n"]))
    return paths


@PER_TEST_FOLDER
@given(st.lists(MASSES, min_size=1, max_size=8))
def test_every_carrier_gives_the_same_numbers_and_row_keys(
    tmp_path: Path, masses: list[Decimal]
) -> None:
    contract = Contract({"mass_kg": CONTRACT.columns["mass_kg"]})
    expected = [float(mass) for mass in masses]
    first, *others = write_masses(masses, tmp_path)
    keys = keys_of(first, contract)
    for path in others:
        assert read(path, contract)["mass_kg"][: len(masses)] == expected, path.name
        assert keys_of(path, contract)[: len(masses)] == keys, path.name


@given(st.lists(st.floats(-1e30, 1e30), max_size=20))
def test_row_key_of_a_number_is_that_of_its_float32(numbers: list[float]) -> None:
    fractions = [number for number in numbers if not number.is_integer()]
    exact = row_keys([pa.array(fractions, pa.float64())])
    narrow = shortest_decimals(np.array(fractions, np.float32))
    assert row_keys([pa.array(narrow)]) == exact


def test_row_key_of_a_whole_number_is_exact_and_zero_has_no_sign() -> None:
    large = [float(2**53), float(2**53 - 1), 0.0, -0.0]
    keys = row_keys([pa.array(large)])
    assert keys[0] != keys[1]
    assert keys[2] == keys[3] == "0.0"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_shortest_decimal_is_what_numpy_prints(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    expected = np.array([float(str(value)) for value in values])
    assert shortest_decimals(values).tolist() == expected.tolist()


@given(
    st.lists(st.floats(-1e12, 1e12), max_size=20),
    st.sampled_from([1000, 0.001, 28.349523125, 2.54, 0.45359237]),
)
def test_units_are_converted_in_arrays_as_one_by_one(numbers: list[float], factor: float) -> None:
    one_by_one = [convert_unit(number, factor) for number in numbers]
    assert convert_units(np.array(numbers, np.float64), factor).tolist() == one_by_one


def test_converted_number_is_the_decimal() -> None:
    assert convert_unit(700, 0.001) == 0.7
    assert convert_unit(3.3, 1000) == 3300.0


def test_number_that_overflows_in_its_unit_is_not_finite() -> None:
    table = pa.table({"mass_t": [1e36, 1.0]})
    contract = Contract({"mass_kg": CONTRACT.columns["mass_kg"]})
    batch = TableReader(MemorySource.of(table, "x"), contract).read_all()
    assert [violation.reason for violation in batch.conversion_errors] == ["mass_kg: not finite"]
    assert batch.conversion_errors[0].mask.tolist() == [True, False]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([0.3], pa.float32()),
        pa.array(np.array([0.3], np.float16)),
        pa.array([Decimal("0.3")], pa.decimal128(5, 1)),
        pa.array(["0.3"]),
    ],
    ids=str,
)
def test_limit_holds_the_number_that_equals_it(cells: pa.Array) -> None:
    contract = Contract({"share": Column("number", min=0.3, max=0.3)})
    batch = TableReader(MemorySource.of(pa.table({"share": cells}), "x"), contract).read_all()
    assert batch.check(contract) == []
    assert batch.values["share"].to_pylist() == [0.3]


SPELLINGS = {
    "code": (
        "1",
        [1, 1.0, "1", "1.0", " 1 ", b"1", b"1.0", Decimal("1"), Decimal("1.00"), np.float32(1)],
    ),
    "grade": ("1", [1, 1.0, "1", "1.0", "1.00", b"1.0", Decimal("1.0")]),
    "flag": ("True", [True, "True", "true", "TRUE", b"true", np.bool_(True)]),
    "city": ("São Paulo", ["São Paulo", "Sa\u0303o Paulo", "São Paulo".encode(), " São Paulo"]),
    "note": ("True", [True, "true", "True"]),
}


@pytest.mark.parametrize(
    ("name", "spelled", "cell"),
    [(name, spelled, cell) for name, (spelled, cells) in SPELLINGS.items() for cell in cells],
)
def test_category_has_one_spelling_in_every_carrier(
    name: str, spelled: str, cell: Any, tmp_path: Path
) -> None:
    column = CONTRACT.columns[name]
    contract = Contract({name: column})
    scalar = cell.item() if isinstance(cell, np.generic) else cell
    assert contract.row_violations({name: scalar}) == []
    assert column.type.parse(scalar, column) == spelled
    table = pa.table({name: pa.array([cell])})
    pq.write_table(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", contract) == {name: [spelled]}
    encoded = pa.table({name: pa.array([cell]).dictionary_encode()})
    pq.write_table(encoded, tmp_path / "y.parquet")
    assert read(tmp_path / "y.parquet", contract) == {name: [spelled]}
    if isinstance(scalar, bool | int | float | str):
        (tmp_path / "x.jsonl").write_text(json.dumps({name: scalar}) + "\n")
        assert read(tmp_path / "x.jsonl", contract) == {name: [spelled]}
    if isinstance(scalar, str | float | int):
        pd.DataFrame({name: [scalar]}).to_csv(tmp_path / "x.csv", index=False)
        assert read(tmp_path / "x.csv", contract) == {name: [spelled]}


@given(st.lists(st.text(max_size=6) | st.sampled_from(["1.0", "-0.0", "TRUE", "0,5", "a\u0308"])))
def test_texts_are_spelled_in_arrays_as_one_by_one(cells: list[str]) -> None:
    for mark in (".", ","):
        texts, errors = to_texts(pa.array(cells, pa.string()), CellFormat(decimal_mark=mark))
        assert errors == []
        assert texts.to_pylist() == [parse_text(cell, decimal_mark=mark) for cell in cells]


def test_bytes_that_are_no_text_are_refused_one_by_one() -> None:
    column = Column("category", values=("a",))
    table = pa.table({"x": pa.array([b"a", b"\xff", None])})
    batch = TableReader(MemorySource.of(table, "x"), Contract({"x": column})).read_all()
    assert batch.values["x"].to_pylist() == ["a", None, None]
    assert [error.reason for error in batch.conversion_errors] == ["x: not UTF-8 text"]
    assert batch.conversion_errors[0].mask.tolist() == [False, True, False]


def test_decimal_comma_of_a_file_holds_for_categories_too(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("grade;mass_kg\n0,5;1,25\n1;3\n")
    contract = Contract({name: CONTRACT.columns[name] for name in ("grade", "mass_kg")})
    assert read(tmp_path / "x.csv", contract) == {"grade": ["0.5", "1"], "mass_kg": [1.25, 3.0]}


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["950.25", "12"], "."),
        (["12,5", "1,234"], ","),
        (["12,5"], ","),
        (["12"], "."),
        (["1,234", "12"], "may separate thousands"),
        (["0,123"], ","),
        (["1,23,456", "12"], "."),
        (["1,23,456", "12,345"], "group digits, and that of '12,345'"),
        (["1,234.5", "950.25"], "."),
        (["12,5", "950.25"], "'950.25' in column mass_kg has a decimal point, and '12,5'"),
        (["1,234", "1,234.5"], "has a decimal point, and '1,234'"),
        (["12,5", "1.234"], "has a decimal point, and '12,5'"),
    ],
)
def test_decimal_mark_is_that_of_the_whole_file(
    cells: list[str], mark: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("mass_kg;note\n" + "".join(f"{cell};x\n" for cell in cells))
    contract = Contract({name: CONTRACT.columns[name] for name in ("mass_kg", "note")})
    reader = TableReader(TableSource.local(tmp_path / "x.csv"), contract)
    if len(mark) > 1:
        with pytest.raises(DataError, match=mark):
            reader.read_all()
        return
    values = reader.read_all().values["mass_kg"].to_pylist()
    for cell, value in zip(cells, values, strict=True):
        is_number = cell.count(",") + cell.count(".") < 2
        assert value == (float(cell.replace(mark, ".")) if is_number else None)


@settings(deadline=None)
@given(st.lists(st.decimals(-9999, 9999, places=2), min_size=1, max_size=9))
def test_declared_decimal_comma_needs_no_evidence(numbers: list[Decimal]) -> None:
    column = Column("number", decimal_mark=",")
    texts = [str(number).replace(".", ",") for number in numbers]
    values, errors = to_numbers(pa.array(texts), CellFormat(decimal_mark=","))
    assert errors == []
    assert values.to_pylist() == [float(number) for number in numbers]
    assert [column.type.parse(text, column) for text in texts] == values.to_pylist()


@pytest.mark.parametrize("mark", [".", ","])
@pytest.mark.parametrize("cell", [".", ",", "n.a.", "-9,9", "-9.9", "1,5", "1.5", "", " x "])
def test_missing_value_is_one_in_arrays_as_one_by_one(mark: str, cell: str) -> None:
    column = Column("number", missing_values=("n.a.", "-9,9", "."))
    cell_format = CellFormat(missing=column.missing_spellings, decimal_mark=mark)
    values, errors = to_numbers(pa.array([cell]), cell_format)
    reasons = [error.reason for error in errors if error.mask[0]]
    try:
        expected = parse_number(cell, column.missing_spellings, mark)
    except ValueError as error:
        assert reasons == [str(error)]
    else:
        assert (values.to_pylist(), reasons) == ([expected], [])


def test_moments_that_python_cannot_hold_are_texts_all_the_same() -> None:
    late = pa.array([2**62, None], pa.timestamp("s"))
    zoned = pa.array([0, None], pa.timestamp("s", "Nowhere/Atlantis"))
    for cells in (late, zoned):
        texts, errors = to_texts(cells)
        assert errors == []
        assert texts.is_valid().to_pylist() == [True, False]


def test_stated_missing_values_take_the_place_of_the_usual_ones() -> None:
    severity = Column("category", values=("none", "mild"), missing_values=("?",))
    mass = Column("number", missing_values=("-999",))
    contract = Contract({"severity": severity, "mass": mass})
    table = pa.table({"severity": ["none", "?", ""], "mass": pa.array([-999, 1, None], pa.int64())})
    batch = TableReader(MemorySource.of(table, "x"), contract).read_all()
    assert batch.values["severity"].to_pylist() == ["none", None, None]
    assert batch.values["mass"].to_pylist() == [None, 1.0, None]
    assert severity.type.parse("None", severity) == "None"
    assert mass.type.parse("-999.0", mass) is None


def test_csv_that_pandas_wrote_of_integers_with_holes_is_the_integers() -> None:
    text = StringIO()
    pd.DataFrame({"code": [1, None, 3]}).to_csv(text, index=False)
    table = pyarrow.csv.read_csv(pa.py_buffer(text.getvalue().encode()))
    texts, _ = to_texts(table["code"].combine_chunks())
    assert texts.to_pylist() == ["1", None, "3"]


@pytest.mark.parametrize("cell", [10**400, -(10**400), Decimal("1e400"), "1e400", 1e39])
def test_number_beyond_every_float_is_refused_with_its_reason(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"^not finite$"):
        parse_number(cell)
    assert Contract({"x": Column("number")}).row_violations({"x": cell}) == ["x: not finite"]
