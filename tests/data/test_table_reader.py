import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather
from support.projects import BIRD, ROOT

from creche.data.quarantine import malformed_table
from creche.data.readers.csv import read_head
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError
from creche.recipe import load

CONTRACT = load("penguins", ROOT).contract().subset(BIRD)
HEADER = ",".join(BIRD)
ROW = ",".join(BIRD.values())


def table(tmp_path: Path, content: str | bytes, name: str = "x.csv") -> TableReader:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return TableReader(TableSource.local(path, name), CONTRACT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.csv is empty: not even a header"),
        (
            f"{HEADER}\n{ROW}\n".replace("Dream", "Drêam").encode("latin-1"),
            "x.csv: not UTF-8 text; save it as UTF-8",
        ),
        (f"{HEADER},île\n{ROW},1\n".encode("latin-1"), "x.csv: not UTF-8 text; save it as UTF-8"),
        (f"{HEADER},x,x\n{ROW},1,2\n", "x.csv: the header names 'x' twice"),
        (
            "island\nDream\n",
            "x.csv: missing columns bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g",
        ),
    ],
)
def test_file_that_cannot_be_read_is_refused_in_one_sentence(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError) as error:
        table(tmp_path, content).read_all()
    assert message in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv: no such file"):
        TableSource.local(tmp_path / "nowhere.csv")


def test_header_only_has_no_rows(tmp_path: Path) -> None:
    assert len(table(tmp_path, HEADER + "\n").read_all().row_numbers) == 0


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_read_off_the_header(tmp_path: Path, separator: str) -> None:
    batch = table(tmp_path, f"{HEADER}\n{ROW}\n".replace(",", separator)).read_all()
    assert batch.values["body_mass_g"].to_pylist() == [5000.0]


def test_byte_order_mark_does_not_hide_the_first_column(tmp_path: Path) -> None:
    assert (
        table(tmp_path, b"\xef\xbb\xbf" + f"{HEADER}\n{ROW}\n".encode()).resolved["island"]
        == "island"
    )


def test_ragged_rows_are_kept_apart_and_numbered(tmp_path: Path) -> None:
    opened = table(tmp_path, f"{HEADER}\n{ROW}\nDream,1\n{ROW}\n{ROW},9\n{ROW}\n")
    assert opened.read_all().row_numbers.tolist() == [1, 3, 5]
    ragged = malformed_table(opened.malformed, "x.csv")
    assert ragged["row"].to_pylist() == [2, 4]
    assert ragged["reasons"].to_pylist() == [
        ["row: 2 cells where the header has 5"],
        ["row: 6 cells where the header has 5"],
    ]
    assert ragged["malformed_line"][0].as_py() == "Dream,1"


@pytest.mark.parametrize("cell", ["oops", "oops,still the note"])
def test_quote_that_is_never_closed_is_refused(tmp_path: Path, cell: str) -> None:
    rows = [f"{ROW},fine"] * 20 + [f'{ROW},"{cell}'] + [f"{ROW},fine"] * 30
    opened = table(tmp_path, "\n".join([f"{HEADER},note", *rows]) + "\n")
    with pytest.raises(DataError, match="a quote is opened in row 21 and closed nowhere"):
        opened.read_all()


def test_quoted_newlines_that_are_meant_are_kept(tmp_path: Path) -> None:
    batch = table(tmp_path, f'{HEADER},note\n{ROW},"two\nlines"\n{ROW},one\n').read_all()
    assert batch.cells.column("note").to_pylist() == ["two\nlines", "one"]


def test_rows_that_stray_quotes_join_are_quarantined(tmp_path: Path) -> None:
    lines = [
        'Dream,50.4,15.3,200,5000,"Pete,1',
        'Biscoe,44.1,13.2,209,5000,Joe",2',
        "Torgersen,38.1,20.5,189,3750,x,3",
    ]
    opened = table(tmp_path, "\n".join([f"{HEADER},who,n", *lines]) + "\n")
    assert opened.read_all().row_numbers.tolist() == [2]
    joined = malformed_table(opened.malformed, "x.csv")
    assert joined["row"].to_pylist() == [1]
    assert joined["reasons"].to_pylist() == [
        ["row: a quote joins 2 lines that may be rows of the table"]
    ]
    for word in ("Pete", "Joe", "Biscoe"):
        assert word in joined["malformed_line"][0].as_py()


def test_sentence_with_commas_in_a_table_of_two_columns_refuses_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('island,note\nDream,"Nice bird,\nvery, fat"\nBiscoe,"small"\n')
    opened = TableReader(TableSource.local(path), CONTRACT.subset(["island"]))
    assert opened.read_all().row_numbers.tolist() == [2]
    assert opened.malformed.row_numbers == [1]


NOTES = st.lists(st.text("ab ,\n", max_size=12), min_size=1, max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NOTES)
def test_cell_of_several_lines_is_kept_or_quarantined_but_never_lost(
    tmp_path: Path, notes: list[str]
) -> None:
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*BIRD, "note"])
        writer.writerows([*BIRD.values(), note] for note in notes)
    opened = TableReader(TableSource.local(tmp_path / "x.csv"), CONTRACT)
    try:
        batch = opened.read_all()
    except DataError as error:
        # A line of the note has as many separators as a row.
        assert "a quote is opened" in str(error)
        assert any(line.count(",") >= len(BIRD) for note in notes for line in note.split("\n")[1:])
        return
    kept = dict(
        zip(batch.row_numbers.tolist(), batch.cells.column("note").to_pylist(), strict=True)
    )
    quarantined = set(opened.malformed.row_numbers)
    assert kept.keys() | quarantined == set(range(1, len(notes) + 1))
    assert not kept.keys() & quarantined
    for row, note in kept.items():
        assert note == notes[row - 1]
    for row in quarantined:
        assert "\n" in notes[row - 1]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("\n\n", "\n"),
        ("", ""),
        ("", "\r\n"),
        ('"note, a, b, c, d, e";', "\n"),
        ('"two\nlines",', "\n"),
    ],
)
def test_odd_headers_are_read(tmp_path: Path, start: str, end: str) -> None:
    separator = ";" if ";" in start else ","
    cells = "x" + separator if start.strip() else ""
    text = f"{start}{HEADER.replace(',', separator)}\n{cells}{ROW.replace(',', separator)}{end}"
    assert table(tmp_path, text).read_all().values["body_mass_g"].to_pylist() == [5000.0]


@pytest.mark.parametrize("first_line", ["sep=;", "SEP=;", '"sep=;"', "sep=;;;;;"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_that_states_the_separator_is_no_header(
    tmp_path: Path, first_line: str, line_end: str, mark: str
) -> None:
    row = ROW.replace(",", ";")
    lines = [first_line, HEADER.replace(",", ";"), row, "Dream;1", row]
    opened = table(tmp_path, mark + line_end.join(lines) + line_end)
    batch = opened.read_all()
    assert batch.values["bill_length_mm"].to_pylist() == [50.4, 50.4]
    assert batch.row_numbers.tolist() == [1, 3]
    assert opened.malformed.row_numbers == [2]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("blank_before", [0, 2])
@pytest.mark.parametrize("blank_after", [0, 3])
def test_blank_lines_around_the_stated_separator_are_skipped(
    tmp_path: Path, line_end: str, blank_before: int, blank_after: int
) -> None:
    row = ROW.replace(",", ";")
    lines = [*[""] * blank_before, "sep=;", *[""] * blank_after]
    lines += [HEADER.replace(",", ";"), row, "Dream;1", row]
    opened = table(tmp_path, line_end.join(lines) + line_end)
    assert opened.header == list(BIRD)
    assert opened.read_all().row_numbers.tolist() == [1, 3]
    assert opened.malformed.row_numbers == [2]


@pytest.mark.parametrize("content", ["sep=;", "\n\nsep=;", "sep=;\n", "sep=;\n\n\n"])
def test_stated_separator_without_a_header_is_no_table(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError):
        table(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        ("mass, g;len, mm;a\n5000;3,1;x\n4000;2;y\n", ";"),
        ("mass; g,len; mm,a\n5000,3,x\n", ","),
        ("a|b,c\n1|2\n", "|"),
        ("mass, g;a\n", ","),
        ("a\nx; y\n", ","),
        ("a,b;c,d\n1;2\n", ","),
    ],
)
def test_rows_decide_between_separators_that_the_header_has_as_often(
    tmp_path: Path, content: str, separator: str
) -> None:
    (tmp_path / "x.csv").write_text(content)
    assert read_head(TableSource.local(tmp_path / "x.csv")).separator == separator


def test_stated_separator_may_be_an_unusual_one(tmp_path: Path) -> None:
    content = f"sep=^\n{HEADER}\n{ROW}\n".replace(",", "^")
    assert table(tmp_path, content).read_all().values["island"].to_pylist() == ["Dream"]


def test_columns_without_a_name_are_called_by_their_position(tmp_path: Path) -> None:
    opened = table(tmp_path, f"{HEADER},, ,column_6\n{ROW},,x,y\n")
    assert opened.header == [*BIRD, "column_6_", "column_7", "column_6"]
    batch = opened.read_all()
    assert batch.cells.column("column_7").to_pylist() == ["x"]
    assert batch.values["body_mass_g"].to_pylist() == [5000.0]


def test_twenty_thousand_names_are_not_all_listed(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(20_000)]
    with pytest.raises(ContractError, match=r"it has c0, c1, .*, c19 and 19,980 more$") as error:
        table(tmp_path, ",".join(names) + "\n")
    assert len(str(error.value)) < 500
    with pytest.raises(ContractError, match="…") as error:
        table(tmp_path, "x" * 100_000 + "\n1\n")
    assert len(str(error.value)) < 500


def test_header_without_a_newline_has_no_rows(tmp_path: Path) -> None:
    assert len(table(tmp_path, HEADER).read_all().row_numbers) == 0


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (
            "x.csv.gz",
            lambda t, p: p.write_bytes(gzip.compress(t.to_pandas().to_csv(index=False).encode())),
        ),
        ("x.parquet", lambda t, p: pq.write_table(t, p)),
        ("x.arrow", lambda t, p: feather.write_feather(t, p)),
        ("x.jsonl", lambda t, p: t.to_pandas().to_json(p, orient="records", lines=True)),
    ],
)
def test_every_format_gives_the_same_values(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None]
) -> None:
    given = pa.table(
        {"island": ["Dream", None], **{n: [float(v), None] for n, v in list(BIRD.items())[1:]}}
    )
    write(given, tmp_path / name)
    batch = TableReader(TableSource.local(tmp_path / name), CONTRACT).read_all()
    assert {n: v.to_pylist() for n, v in batch.values.items()} == given.to_pydict()


def test_key_that_the_last_line_alone_has_is_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creche.data.readers.csv.BLOCK_BYTES", 64)
    lines = [json.dumps(BIRD)] * 9
    opened = table(tmp_path, "\n".join([*lines, json.dumps({**BIRD, "note": "late"})]), "x.jsonl")
    assert opened.ignored == ["note"]
    assert opened.read_all().cells["note"].to_pylist() == [*[None] * 9, "late"]


def test_json_of_changing_types_keeps_its_rows(tmp_path: Path) -> None:
    rows = [dict(BIRD), {**BIRD, "body_mass_g": 4100}, {**BIRD, "body_mass_g": [1]}]
    opened = table(tmp_path, "\n".join([*map(json.dumps, rows), "no json", "7"]) + "\n", "x.jsonl")
    batch = opened.read_all()
    assert batch.values["body_mass_g"].to_pylist() == [5000.0, 4100.0, None]
    assert opened.malformed.row_numbers == [4, 5]


def test_unknown_columns_are_told(tmp_path: Path) -> None:
    assert table(tmp_path, f"{HEADER},ring\n{ROW},7\n").ignored == ["ring"]


def test_cut_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({n: [v] for n, v in BIRD.items()}), tmp_path / "whole.parquet")
    cut = (tmp_path / "whole.parquet").read_bytes()[:-20]
    with pytest.raises(DataError, match=r"x.parquet is not a whole Parquet file"):
        table(tmp_path, cut, "x.parquet")


def test_two_names_for_one_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="both island"):
        table(tmp_path, f"{HEADER},Island\n{ROW},Dream\n")


def test_parquet_leaves_memory_as_it_is_read(tmp_path: Path) -> None:
    chance, rows = np.random.default_rng(0), 300_000
    numbers = {name: chance.random(rows) for name in list(BIRD)[1:]}
    pq.write_table(
        pa.table({"island": ["Dream"] * rows, **numbers}),
        tmp_path / "x.parquet",
        row_group_size=20_000,
    )
    before = pa.total_allocated_bytes()
    batches = TableReader(TableSource.local(tmp_path / "x.parquet", "x.parquet"), CONTRACT).blocks()
    held = max(pa.total_allocated_bytes() - before for _ in batches)
    assert held < (tmp_path / "x.parquet").stat().st_size / 2
