"""Delta Lake tables: only what the log states is read, for training and scoring alike."""

import sys
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from support.small_tables import COLUMNS, shops, write_recipe

from creche.contract import Column, Contract
from creche.data.sources import find_inputs
from creche.data.table_reader import TableReader
from creche.errors import DataError
from creche.pipeline.validate import validate

CONTRACT = Contract({name: Column(**column) for name, column in COLUMNS.items()})  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the folder of a table of which rows were deleted, and others added."""
    folder = tmp_path / "shops"
    rows = shops(20)
    deltalake.write_deltalake(folder, rows.slice(0, 12), partition_by=["city"])
    deltalake.DeltaTable(folder).delete("grade = 'bad'")
    deltalake.write_deltalake(folder, rows.slice(12), mode="append")
    return folder


def current_sizes() -> list[float]:
    rows = shops(20).to_pylist()
    sizes = [row["size_m2"] for row in rows[:12] if row["grade"] == "good"]
    return sorted(sizes + [row["size_m2"] for row in rows[12:]])


def test_rows_that_were_deleted_are_not_read(table: Path, tmp_path: Path) -> None:
    [source] = find_inputs([str(table)]).sources
    assert (source.format, source.stem) == ("delta", "shops")
    batch = TableReader(source, CONTRACT).read_all()
    assert sorted(batch.values["size_m2"].to_pylist()) == current_sizes()
    assert set(batch.values["city"].to_pylist()) <= {"Bonn", "Köln"}
    recipe = write_recipe(tmp_path, {"path": "shops"})
    accepted = validate(table, "shops", recipe).accepted
    assert accepted["size_m2"].to_pylist() == batch.values["size_m2"].to_pylist()


def test_version_that_was_found_is_the_one_that_is_read(table: Path) -> None:
    [source] = find_inputs([str(table)]).sources
    digest = source.sha256()
    deltalake.write_deltalake(table, shops(3), mode="append")
    batch = TableReader(source, CONTRACT).read_all()
    assert len(batch.row_numbers) == len(current_sizes())
    assert source.sha256() == digest
    [later] = find_inputs([str(table)]).sources
    assert later.sha256() != digest


def test_absent_package_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(
        DataError, match=r"the package deltalake reads: run `pip install 'creche\[delta]'`"
    ):
        find_inputs([str(table)])


def test_damaged_log_is_refused_in_one_sentence(table: Path) -> None:
    log = table / "_delta_log" / "00000000000000000001.json"
    log.write_text("{")
    with pytest.raises(DataError, match="is a Delta Lake table that cannot be read: ") as error:
        find_inputs([str(table)])
    assert "\n" not in str(error.value)


def test_table_without_rows_has_its_header(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path / "empty", shops(2))
    deltalake.DeltaTable(tmp_path / "empty").delete()
    [source] = find_inputs([str(tmp_path / "empty")]).sources
    batch = TableReader(source, CONTRACT).read_all()
    assert pa.array(batch.row_numbers).to_pylist() == []
