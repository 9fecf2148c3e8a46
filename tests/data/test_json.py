"""JSON in each layout that holds rows: the same rows as one object a line."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.projects import BIRD, ROOT

from creche.contract import Column, Contract
from creche.data.readers import BlockPlan, json_layout, json_values, reader_for
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.errors import DataError
from creche.recipe import load

CONTRACT = load("penguins", ROOT).contract().subset(BIRD)
Records = list[dict[str, Any]]

LAYOUTS: dict[str, Callable[[Records], str]] = {
    "lines": lambda records: "\n".join(map(json.dumps, records)),
    "array": json.dumps,
    "indented array": lambda records: json.dumps(records, indent=2),
    "array with a row a line": lambda records: (
        "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n"
    ),
    "objects on several lines": lambda records: "\n".join(json.dumps(r, indent=2) for r in records),
}


def split_of(records: Records) -> str:
    names = list(dict.fromkeys(name for record in records for name in record))
    data = [[record.get(name) for name in names] for record in records]
    return json.dumps({"columns": names, "index": list(range(len(data))), "data": data})


def rows_of(path: Path) -> tuple[list[str], list[dict[str, Any]], list[tuple[int, str]]]:
    """The header, the rows, and the number and reason of each value that is no row."""
    [source] = find_sources([str(path)])
    reader = reader_for(source)
    rows = []
    for block in reader.blocks(BlockPlan()):
        rows += block.cells.to_pylist()
    malformed = reader.malformed
    return reader.header, rows, list(zip(malformed.row_numbers, malformed.reasons, strict=True))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=120, deadline=None)
@given(
    records=st.lists(
        st.dictionaries(NAMES, VALUES, min_size=2, max_size=4), min_size=1, max_size=8
    ),
    layout=st.sampled_from([*LAYOUTS, "split"]),
    chunk_bytes=st.sampled_from([1, 7, 1000]),
    rows_at_once=st.sampled_from([1, 3, 100]),
)
def test_every_layout_gives_the_rows_of_json_lines(
    records: Records,
    layout: str,
    chunk_bytes: int,
    rows_at_once: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("json")
    (folder / "lines.jsonl").write_text(LAYOUTS["lines"](records), encoding="utf-8")
    text = split_of(records) if layout == "split" else LAYOUTS[layout](records)
    (folder / "other.json").write_text(text, encoding="utf-8")
    expected = rows_of(folder / "lines.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(json_layout, "ROWS_AT_ONCE", rows_at_once)
        assert rows_of(folder / "other.json") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("orient", ["records", "split"])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_pandas_writes_is_read(
    tmp_path: Path, encoding: str, orient: Any, indent: int | None
) -> None:
    frame = pd.DataFrame([BIRD, {**BIRD, "island": "Biscoe"}])
    buffer = io.StringIO()
    frame.to_json(buffer, orient=orient, indent=indent)
    (tmp_path / "x").write_bytes(buffer.getvalue().encode(encoding))
    [source] = find_sources([str(tmp_path / "x")])
    values = TableReader(source, CONTRACT).read_all().values
    assert values["island"].to_pylist() == ["Dream", "Biscoe"]
    assert values["body_mass_g"].to_pylist() == [5000.0, 5000.0]


def test_values_that_are_no_rows_are_numbered(tmp_path: Path) -> None:
    half = '{"a": "\\ud800"}'
    (tmp_path / "array.json").write_text(f'[{{"a": 1}}, 7, {{"a": 2}}, [1], {half}]')
    header, rows, malformed = rows_of(tmp_path / "array.json")
    assert (header, rows) == (["a"], [{"a": "1"}, {"a": "2"}])
    assert malformed == [(number, "row: not a JSON object") for number in (2, 4, 5)]
    (tmp_path / "split.json").write_text('{"columns": ["a", "b"], "data": [[1, 2], [3], {}]}')
    header, rows, malformed = rows_of(tmp_path / "split.json")
    assert (header, rows) == (["a", "b"], [{"a": "1", "b": "2"}])
    assert malformed == [
        (2, "row: 1 cells where the header has 2"),
        (3, "row: not a JSON array"),
    ]


def test_data_may_come_before_columns(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"data": [[1, 2]], "columns": ["a", "b"]}')
    assert rows_of(tmp_path / "x.json")[1] == [{"a": "1", "b": "2"}]


def test_line_with_the_keys_of_a_table_is_a_row(tmp_path: Path) -> None:
    lines = '{"columns": 5, "data": [1]}\n{"data": [2], "x": 1}\n'
    (tmp_path / "x.jsonl").write_text(lines)
    header, rows, _ = rows_of(tmp_path / "x.jsonl")
    assert (header, len(rows)) == (["columns", "data", "x"], 2)


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_line_that_is_no_object_is_a_row_wherever_it_is(tmp_path: Path, damaged: int) -> None:
    lines = ['{"a": 1}'] * 3
    lines[damaged - 1] += ","
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    _, rows, malformed = rows_of(tmp_path / "x.jsonl")
    assert rows == [{"a": "1"}] * 2
    assert malformed == [(damaged, "row: not a JSON object")]


def test_objects_on_one_line_are_rows(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1} {"a": 2}{"a": 3}\n')
    assert rows_of(tmp_path / "x.json")[1] == [{"a": "1"}, {"a": "2"}, {"a": "3"}]


@pytest.mark.parametrize("key", ["data", "columns", "index"])
@pytest.mark.parametrize("other", ['"x": 1', '"x": [1]', '"index": 7'])
def test_long_line_that_begins_as_a_table_is_a_row(tmp_path: Path, key: str, other: str) -> None:
    cells = ", ".join(["1"] * json_layout.SAMPLE_BYTES)
    (tmp_path / "x.jsonl").write_text(f'{{"{key}": [{cells}], {other}}}\n{{"x": 2}}\n')
    _, rows, malformed = rows_of(tmp_path / "x.jsonl")
    assert (len(rows), malformed) == (2, [])


def test_long_table_is_read_as_one(tmp_path: Path) -> None:
    count = json_layout.SAMPLE_BYTES
    text = json.dumps({"index": list(range(count)), "columns": ["a"], "data": [[1]] * count})
    (tmp_path / "x.json").write_text(text)
    assert len(rows_of(tmp_path / "x.json")[1]) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "x.json holds no rows"),
        ("[1, 2]", "none of its 2 rows is a JSON object with a key"),
        ('[{"a": 1}, {"a": ]', "is not valid JSON at character 12"),
        ('[{"a": 1} {"a": 2}]', "is not valid JSON at character 11"),
        ('[{"a": 1}] [2]', "is not valid JSON at character 12"),
        ('[{"a": 1}, ', "is not valid JSON at character 12"),
        ('{"columns": ["a"], "data": [[1], [2', "is not valid JSON at character 34"),
        ('{"columns": ["a"], "data": [[1]]}\n{"columns": ["a"], "data": [[2]]}', "at character 35"),
        ('{"columns": ["a"], "data": [[1]]} 7', "is not valid JSON at character 35"),
        ('{"columns":\n["a"]}', "missing columns island"),
        ("[" * 100_000, "is not valid JSON at character"),
        ('[{"a": ' + "[" * 600 + "]" * 600 + "}]", None),
    ],
)
def test_damaged_document_is_refused_in_one_sentence(
    tmp_path: Path, text: str, message: str | None
) -> None:
    (tmp_path / "x.json").write_text(text)
    [source] = find_sources([str(tmp_path / "x.json")])
    if message is None:
        assert rows_of(tmp_path / "x.json")[0] == ["a"]
        return
    with pytest.raises(DataError, match=message) as error:
        TableReader(source, CONTRACT).read_all()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "column",
    [
        Column("number", decimal_mark=",", missing_values=("-9,5",)),
        Column("number", thousands=".", missing_values=("-9,5",)),
    ],
    ids=["decimal comma", "points between thousands"],
)
def test_number_is_one_whatever_mark_the_texts_of_its_column_have(
    tmp_path: Path, column: Column
) -> None:
    cells = [50.4, 7, "50,4", 1.234, -9.5, 1e-7, 1.5e300, [1.5], "1.5"]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"x": cell}) for cell in cells))
    [source] = find_sources([str(tmp_path / "x.jsonl")])
    batch = TableReader(source, Contract({"x": column})).read_all()
    assert batch.values["x"].to_pylist() == [50.4, 7.0, 50.4, 1.234, None, 1e-7, None, None, None]
    not_finite = [error for error in batch.conversion_errors if error.reason == "x: not finite"]
    assert [error.mask.nonzero()[0].tolist() for error in not_finite] == [[6]]
    refused = np.logical_or.reduce([error.mask for error in batch.conversion_errors])
    assert refused.nonzero()[0].tolist() == [6, 7, 8]
