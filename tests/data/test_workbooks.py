"""Workbooks of Excel and OpenDocument: one sheet is the table, as any other."""

import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from creche.contract import Column, Contract
from creche.contract.reading import Reading
from creche.data.sources import find_inputs
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError

HEADER = ["name", "mass", "when"]
ROWS = [["a", 1, date(2020, 1, 2)], ["b", 2.5, date(2020, 1, 3)]]
CONTRACT = Contract({"name": Column("category"), "mass": Column("number")})


def write(path: Path, sheets: dict[str, list[list[Any]]]) -> Any:
    """Write a workbook of these sheets, and return it for changes."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(path)
    return workbook


def read(path: Path, sheet: str | None = None) -> TableReader:
    return TableReader(TableSource.local(path, path.name, Reading(sheet=sheet)), CONTRACT)


def test_cells_have_the_types_of_the_sheet(tmp_path: Path) -> None:
    rows = [
        [*HEADER, "at", "yes", "mixed", "moment", None, "empty"],
        [],
        ["a", 1, date(2020, 1, 2), time(3, 4), True, 7, datetime(2020, 1, 2, 3, 4, 5), "x", None],
        ["b", 2.5, None, None, False, "x", None, None, None],
    ]
    write(tmp_path / "x.xlsx", {"Sheet1": rows})
    reader = read(tmp_path / "x.xlsx")
    batch = reader.read_all()
    assert batch.row_numbers.tolist() == [1, 2]
    assert batch.values["mass"].to_pylist() == [1, 2.5]
    cells = batch.cells.to_pydict()
    assert cells["when"] == [date(2020, 1, 2), None]
    assert cells["at"] == ["03:04:00", None]
    assert cells["yes"] == [True, False]
    assert cells["mixed"] == ["7", "x"]
    assert cells["moment"] == [datetime(2020, 1, 2, 3, 4, 5), None]
    assert cells["column_8"] == ["x", None]
    assert cells["empty"] == [None, None]


def test_whole_number_is_a_category_as_it_is_shown(tmp_path: Path) -> None:
    write(tmp_path / "x.xlsx", {"S": [["name", "mass"], [7, 1], [8, 1]]})
    names = read(tmp_path / "x.xlsx").read_all().values["name"]
    assert names.to_pylist() == ["7", "8"]


def test_open_document_is_read(tmp_path: Path) -> None:
    cells = "".join(
        f"<table:table-row><table:table-cell office:value-type='string'><text:p>{name}</text:p>"
        f"</table:table-cell><table:table-cell {mass}</table:table-cell></table:table-row>"
        for name, mass in (
            ("name", "office:value-type='string'><text:p>mass</text:p>"),
            ("a", "office:value-type='float' office:value='1.5'><text:p>1.5</text:p>"),
        )
    )
    names = {"office": "office", "table": "table", "text": "text"}
    prefixes = " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for prefix, name in names.items()
    )
    with zipfile.ZipFile(tmp_path / "x.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
            '<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis'
            '.opendocument.spreadsheet"/></manifest:manifest>',
        )
        archive.writestr(
            "content.xml",
            f"<office:document-content {prefixes}><office:body><office:spreadsheet>"
            f"<table:table table:name='S'>{cells}</table:table></office:spreadsheet></office:body>"
            "</office:document-content>",
        )
    batch = read(tmp_path / "x.ods").read_all()
    assert batch.values["mass"].to_pylist() == [1.5]


def test_stated_sheet_of_several_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    write(path, {"Notes": [["about"]], "Birds": [HEADER, *ROWS], "Empty": []})
    assert len(read(path, "Birds").read_all().row_numbers) == 2
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        "x.xlsx has several sheets: state one of Notes, Birds as data.sheet in the recipe, or save "
        "it as a workbook of its own"
    )
    with pytest.raises(DataError, match=r"x.xlsx has no sheet 'Bird': state one of Notes, Birds"):
        read(path, "Bird")


def test_only_sheet_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    workbook = write(tmp_path / "x.xlsx", {"Sheet1": [HEADER, *ROWS], "Empty": [], "Old": [["x"]]})
    workbook["Old"].sheet_state = "hidden"
    workbook.save(tmp_path / "x.xlsx")
    for sheet in (None, "Birds"):
        assert len(read(tmp_path / "x.xlsx", sheet).read_all().row_numbers) == 2


def test_formula_without_a_value_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.xlsx", {"S": [HEADER, ["a", "=1+1", None]]})
    with pytest.raises(DataError, match=r"x.xlsx, sheet S: the formula in B2 has no value"):
        read(tmp_path / "x.xlsx")


@pytest.mark.parametrize(("cells", "text"), [("A1:B1", "A1:B1"), ("A2:A3", "A2:A3")])
def test_merged_cells_are_refused(tmp_path: Path, cells: str, text: str) -> None:
    workbook = write(tmp_path / "x.xlsx", {"S": [HEADER, *ROWS]})
    workbook["S"].merge_cells(cells)
    workbook.save(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match=rf"x.xlsx, sheet S: the cells {text} are merged"):
        read(tmp_path / "x.xlsx")


def test_merged_empty_cells_do_not_count(tmp_path: Path) -> None:
    workbook = write(tmp_path / "x.xlsx", {"S": [HEADER, *ROWS]})
    workbook["S"].merge_cells("A6:C6")
    workbook.save(tmp_path / "x.xlsx")
    assert len(read(tmp_path / "x.xlsx").read_all().row_numbers) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xlsx", b"no workbook", "x.xlsx is not a whole workbook: "),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "x.xls is not a whole workbook: "),
        ("x.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "x.xlsx is protected by a password: save a copy without one"),
        ("x.xlsx", b"", "x.xlsx is empty"),
    ],
)  # fmt: skip
def test_workbook_that_cannot_be_read_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    assert message in str(error.value)


def test_empty_sheets_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.xlsx", {"S": []})
    with pytest.raises(DataError, match=r"x.xlsx is empty: no sheet of it has a cell"):
        read(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match=r"x.xlsx, sheet S: it is empty"):
        read(tmp_path / "x.xlsx", "S")


def test_truncated_workbook_gives_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "whole.xlsx", {"S": [HEADER, *ROWS]})
    content = (tmp_path / "whole.xlsx").read_bytes()
    for end in range(100, len(content), 997):
        (tmp_path / "x.xlsx").write_bytes(content[:end])
        with pytest.raises(DataError):
            read(tmp_path / "x.xlsx").read_all()


def test_workbook_of_a_folder_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "x.xlsx", {"S": [HEADER, *ROWS]})
    [source] = find_inputs([str(tmp_path)]).sources
    assert (source.format, source.stem) == ("workbook", "x")
    assert pa.types.is_float64(TableReader(source, CONTRACT).schema.field("mass").type)
