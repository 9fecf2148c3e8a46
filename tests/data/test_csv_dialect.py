"""CSV files of a dialect that the recipe states: the same rows, whatever stands around them."""

from pathlib import Path
from typing import Any

import pytest
from support.small_tables import run_steps, write_recipe

from creche.contract import Column, Contract
from creche.contract.reading import CsvDialect, Reading
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError, RecipeError
from creche.project import SOURCE, read_json
from creche.provenance import md5_of
from creche.recipe import load

CONTRACT = Contract({"a": Column("number"), "b": Column("category")})
ROWS = [{"row": 1, "a": 1.0, "b": "é"}, {"row": 2, "a": 2.0, "b": "y z"}]
TABLES = Path(__file__).parents[3] / "shared" / "data" / "tables"


def read(
    tmp_path: Path, content: bytes | str, label: str | None = None, **dialect: Any
) -> tuple[TableReader, list[dict[str, Any]]]:
    """Return the reader of a file of this content, and its rows under the contract."""
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reading = Reading(csv=CsvDialect(**dialect), label=label)
    reader = TableReader(TableSource.local(path, "x.csv", reading), CONTRACT)
    batch = reader.read_all()
    rows = []
    for position, row in enumerate(batch.row_numbers.tolist()):
        cells = {name: values[position].as_py() for name, values in batch.values.items()}
        rows.append({"row": row, **cells})
    return reader, rows


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        ("1,é\n2,y z\n", {"header": "none", "names": ("a", "b")}),
        ("a,b\n1,é\n2,y z\n", {"header": "none", "names": ("a", "b")}),
        ("b,a\né,1\ny z,2\n", {"header": "none", "names": ("a", "b")}),
        ("first,second\n1,é\n2,y z\n", {"names": ("a", "b")}),
        ("\n\nfirst,second\r\n1,é\r\n\r\n2,y z\r\n", {"names": ("a", "b")}),
        ("About x\n\na,b\n1,é\n2,y z\n", {"skip_lines": 2}),
        ("About x\n1,é\n2,y z\n", {"skip_lines": 1, "header": "none", "names": ("a", "b")}),
        ("\ufeff# x\na,b\n  # y\n1,é\n\n# z, \"w\n2,y z\n# end", {"comment": "#"}),
        ("a,b\n1,é\n2,y z\n".encode("latin-1"), {"encoding": "latin-1"}),
        ("a,b\n1,é\n2,y z\n".encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("a,b\n1,é\n2,y z\n".encode("utf-16"), {"encoding": "latin-1"}),
        ("a,b\n1,é\n2,y z\n", {"encoding": "utf-8-sig"}),
        ("a~b\n1~é\n2~y z\n", {"separator": "~"}),
        ("a,b\n1,'é'\n2,'y z'\n", {"quote": "'"}),
        ("1;é\n2;y z\n", {"header": "none", "names": ("a", "b")}),
    ],
)  # fmt: skip
def test_rows_are_the_same_in_every_dialect(
    tmp_path: Path, content: bytes | str, dialect: dict[str, Any]
) -> None:
    assert read(tmp_path, content, **dialect)[1] == ROWS


def test_malformed_row_keeps_its_number(tmp_path: Path) -> None:
    dialect = {"header": "none", "names": ("a", "b"), "skip_lines": 1, "comment": "#"}
    reader, rows = read(tmp_path, "x\n1,é\n# a comment\n\n3\n2,y z\n", **dialect)
    assert [row["row"] for row in rows] == [1, 3]
    assert (reader.malformed.row_numbers, reader.malformed.texts) == ([2], ["3"])


def test_comment_within_a_quoted_cell_is_part_of_it(tmp_path: Path) -> None:
    _, rows = read(tmp_path, 'a,b\n1,"x\n#y"\n', comment="#")
    assert rows == [{"row": 1, "a": 1.0, "b": "x\n#y"}]


def test_lines_are_filtered_across_blocks_of_bytes(tmp_path: Path) -> None:
    lines = []
    for number in range(200_000):
        lines.append(f"{number},x" if number % 2 else f"# comment {number}")
    _, rows = read(tmp_path, "a,b\n" + "\n".join(lines), comment="#")
    assert [row["a"] for row in rows] == list(range(1, 200_000, 2))


def test_file_to_score_may_lack_the_label(tmp_path: Path) -> None:
    names = ("l", "a", "b")
    _, rows = read(tmp_path, "1,é\n2,y z\n", label="l", header="none", names=names)
    assert rows == ROWS
    with pytest.raises(DataError, match=r"x.csv: its first row has 2 cells, and data.csv.names"):
        read(tmp_path, "1,é\n2,y z\n", header="none", names=names)


def test_columns_without_names_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("5,x\n6,y\n")
    contract = Contract({"column_1": Column("number")})
    source = TableSource.local(path, "x.csv", Reading(csv=CsvDialect(header="none")))
    assert TableReader(source, contract).read_all().values["column_1"].to_pylist() == [5, 6]


def test_label_of_a_file_without_names_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("good,5,x\nbad,6,y\n")
    columns = {
        "column_1": {"kind": "category", "values": ["bad", "good"]},
        "column_2": {"kind": "number"},
    }
    data = {"path": "x.csv", "md5": md5_of(tmp_path / "x.csv"), "csv": {"header": "none"}}
    features = {"column_2": "standardize"}
    recipe = write_recipe(tmp_path, data, columns=columns, features=features, label="column_1")
    header = read_json(run_steps(tmp_path, recipe, "pull") / SOURCE)["header"]
    assert header == ["column_1", "column_2", "column_3"]
    reading = recipe.data.reading_to_score("column_1", header)
    (tmp_path / "new.csv").write_text("7,z\n")
    contract = Contract({"column_2": Column("number")})
    reader = TableReader(TableSource.local(tmp_path / "new.csv", "new.csv", reading), contract)
    assert reader.read_all().values["column_2"].to_pylist() == [7]


def test_other_encoding_than_the_stated_one_is_named(tmp_path: Path) -> None:
    content = b"a,b\n1,x\n2,\x81\n"
    with pytest.raises(DataError, match=r"x.csv: not cp1252 text, as csv.encoding under data"):
        read(tmp_path, content, encoding="cp1252")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("names: [a, A]", "data.csv: names: 'a' and 'A' are one name"),
        ("names: ['?']", "data.csv: names: '?' has neither letter nor digit"),
        ("separator: ab", "data.csv: separator is 'ab': state one ASCII character"),
        ("separator: '\"'", 'data.csv: separator and quote are both "'),
        ("comment: ''", "data.csv: comment is empty"),
        ("encoding: hex", "data.csv: encoding: 'hex' is no encoding of text"),
        ("skip_lines: -1", "data.csv: skip_lines is -1"),
        ("header: maybe", "data.csv.header: is 'maybe': it must be 'first-line' or 'none'"),
        ("name: [a]", "data.csv.name: unknown key: did you mean 'names'?"),
    ],
)
def test_wrong_dialect_is_refused_with_its_key(tmp_path: Path, stated: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        f"description: d\ndata: {{path: x.csv, csv: {{{stated}}}}}\nlabel: b\n"
        "columns: {a: {kind: number}, b: {kind: category, values: [x, y]}}\n"
        "features: {a: standardize}\n"
    )
    with pytest.raises(RecipeError) as error:
        load(str(path), tmp_path)
    assert message in str(error.value)


def test_reading_is_the_same_after_json() -> None:
    reading = Reading(CsvDialect(header="none", names=("a", "b"), skip_lines=1), "Orders", "b")
    assert Reading.from_dict(reading.to_dict()) == reading
    assert Reading().to_dict() == {}
    with pytest.raises(ValueError, match="unknown key 'delimiter'"):
        Reading.from_dict({"csv": {"delimiter": ","}})


@pytest.mark.skipif(
    not TABLES.is_dir(), reason="the tables of other people are not on this machine"
)
@pytest.mark.parametrize(
    ("file", "rows", "columns", "dialect"),
    [
        ("adult.csv", 32_561, 15, {"header": "none"}),
        ("bank-full.csv", 32_799, 17, {}),
        ("car.data", 1_728, 7, {}),
        ("mammography.csv", 11_183, 7, {"header": "none", "quote": "'"}),
    ],
)
def test_tables_of_other_people_are_read(
    file: str, rows: int, columns: int, dialect: dict[str, Any]
) -> None:
    reading = Reading(csv=CsvDialect(**dialect))
    reader = TableReader(TableSource.local(TABLES / file, file, reading), Contract({}))
    batch = reader.read_all()
    assert (len(reader.header), len(batch.row_numbers)) == (columns, rows)
    assert not reader.malformed.row_numbers
    if file == "mammography.csv":
        assert sorted(set(batch.cells["column_7"].to_pylist())) == ["-1", "1"]
