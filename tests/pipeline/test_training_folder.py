"""Training from a folder whose files are one table."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.small_tables import run_steps, shops, write_recipe

from creche.errors import DataError, QuarantineError
from creche.pipeline.validate import validate
from creche.project import ACCEPTED, QUARANTINE, SOURCE, read_json
from creche.provenance import version_of
from creche.recipe import Recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return write_recipe(tmp_path, {"path": "data"}, quarantine={"max_share": 1})


def write_csv(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.csv.write_csv(table, path)


def test_folder_gives_the_rows_of_its_files_in_turn(tmp_path: Path, recipe: Recipe) -> None:
    table = shops()
    folder = tmp_path / "data"
    write_csv(folder / "b.csv", table.slice(40, 40))
    write_csv(folder / "a.csv", table.slice(0, 40))
    # The order of the columns does not count.
    write_csv(folder / "c" / "c.csv", table.slice(80).select(["size_m2", "city", "grade"]))
    (folder / "README.md").write_text("# Shops\n")
    whole = tmp_path / "whole.csv"
    write_csv(whole, table)
    of_folder = validate(folder, "data", recipe).accepted
    assert of_folder.equals(validate(whole, "whole.csv", recipe).accepted)


def test_quarantine_names_the_file_and_the_row_there(tmp_path: Path, recipe: Recipe) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("grade,city,size_m2\ngood,Bonn,1\nbad\ngood,Bonn,2\n")
    (folder / "b.csv").write_text("grade,city,size_m2\n\ngood,Bonn,3\ngood,Rom,4\nbad,Bonn,big\n")
    result = validate(folder, "data", recipe)
    assert result.accepted["row"].to_pylist() == [1, 3, 4]
    quarantined = []
    for row in result.quarantine.to_pylist():
        quarantined.append((row["source"], row["row"], row["reasons"]))
    assert quarantined == [
        ("data/a.csv", 2, ["row: 1 cells where the header has 3"]),
        ("data/b.csv", 2, ["city: not one of Bonn, Köln"]),
        ("data/b.csv", 3, ["size_m2: not a number"]),
    ]


def test_refusal_names_the_file_of_its_example(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_csv(tmp_path / "data" / f"{name}.csv", shops(4))
    path = tmp_path / "data" / "b.csv"
    path.write_text(path.read_text().replace("Bonn", "Rom").replace("Köln", "Rom"))
    version = version_of(tmp_path / "data")
    recipe = write_recipe(tmp_path, {"path": "data", "md5": version})
    with pytest.raises(QuarantineError, match=r"city: not one of .* \(data/b.csv, row 1: 'Rom'\)"):
        run_steps(tmp_path, recipe, "validate")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "csv.gz"])
def test_folder_of_every_format_is_read(tmp_path: Path, recipe: Recipe, suffix: str) -> None:
    table = shops(20)
    folder = tmp_path / "data"
    folder.mkdir()
    for name, part in (("a", table.slice(0, 12)), ("b", table.slice(12))):
        path = str(folder / f"{name}.{suffix}")
        if suffix == "parquet":
            pq.write_table(part, path)
        elif suffix == "arrow":
            with pa.ipc.new_file(path, part.schema) as writer:
                writer.write_table(part)
        elif suffix == "jsonl":
            lines = [json.dumps(row) + "\n" for row in part.to_pylist()]
            Path(path).write_text("".join(lines))
        else:
            with pa.output_stream(path, compression="gzip") as stream:
                pa.csv.write_csv(part, stream)
    accepted = validate(folder, "data", recipe).accepted
    assert accepted["size_m2"].to_pylist() == table["size_m2"].to_pylist()
    assert accepted["city"].to_pylist() == table["city"].to_pylist()


def test_keys_of_a_parquet_data_set_are_columns(tmp_path: Path, recipe: Recipe) -> None:
    table = shops(20)
    pq.write_to_dataset(table, tmp_path / "data", partition_cols=["city"])
    accepted = validate(tmp_path / "data", "data", recipe).accepted
    assert sorted(accepted["city"].to_pylist()) == sorted(table["city"].to_pylist())


def test_number_is_whole_in_one_file_and_a_fraction_in_another(
    tmp_path: Path, recipe: Recipe
) -> None:
    (tmp_path / "data").mkdir()
    for name, values in (("a", [1, 2]), ("b", [1.5, None])):
        table = pa.table({"grade": ["bad", "good"], "city": ["Bonn", "Bonn"], "size_m2": values})
        pq.write_table(table, tmp_path / "data" / f"{name}.parquet")
    assert validate(tmp_path / "data", "data", recipe).accepted["size_m2"].to_pylist() == [
        1,
        2,
        1.5,
    ]


def test_decimal_comma_of_one_file_holds_for_those_without_fractions(
    tmp_path: Path, recipe: Recipe
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("grade;city;size_m2\ngood;Bonn;1,234\nbad;Bonn;12,5\n")
    (folder / "b.csv").write_text("grade;city;size_m2\ngood;Bonn;7\n")
    assert validate(folder, "data", recipe).accepted["size_m2"].to_pylist() == [1.234, 12.5, 7]
    (folder / "c.csv").write_text("grade;city;size_m2\ngood;Bonn;7.5\n")
    with pytest.raises(DataError, match=r"data/a.csv has decimal commas, and data/c.csv decimal"):
        validate(folder, "data", recipe)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", "grade,town,size_m2\n", "data/b.csv has other columns than data/a.csv, and a folder is one table: it lacks city and has town besides"),
        ("b.csv", "", "data/b.csv is empty: not even a header"),
        ("b.csv", "grade,city,size_m2\nbad,K\udcf6ln,1\n", "data/b.csv: not UTF-8 text"),
        ("b.avro", "Obj\x01\x04", "data/b.avro (an Avro file: convert it to Parquet or CSV); mend or move them, or name one file as data.path"),
    ],
)  # fmt: skip
def test_file_that_is_no_part_of_the_table_is_named(
    tmp_path: Path, recipe: Recipe, name: str, content: str, message: str
) -> None:
    write_csv(tmp_path / "data" / "a.csv", shops(4))
    (tmp_path / "data" / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        validate(tmp_path / "data", "data", recipe)
    assert message in str(error.value)


def test_types_that_do_not_fit_are_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "data").mkdir()
    for name, size in (("a", 1.5), ("b", "big")):
        table = pa.table({"grade": ["bad"], "city": ["Bonn"], "size_m2": [size]})
        pq.write_table(table, tmp_path / "data" / f"{name}.parquet")
    message = r"data/b.parquet: column size_m2 is string there and double in the files before it"
    with pytest.raises(DataError, match=message):
        validate(tmp_path / "data", "data", recipe)


def test_folder_is_pinned_by_names_and_digests(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_csv(tmp_path / "data" / f"{name}.csv", shops(8))
    recipe = write_recipe(tmp_path, {"path": "data"})
    with pytest.raises(DataError, match=r"data is neither tracked by DVC nor pinned") as error:
        run_steps(tmp_path, recipe, "pull")
    version = version_of(tmp_path / "data")
    assert f"`md5: {version}`" in str(error.value)
    recipe = write_recipe(tmp_path, {"path": "data", "md5": version})
    paths = run_steps(tmp_path, recipe, "validate")
    assert read_json(paths / SOURCE)["version"] == version
    assert pq.read_metadata(paths / ACCEPTED).num_rows == 16
    assert pq.read_metadata(paths / QUARANTINE).num_rows == 0
    (tmp_path / "data" / "b.csv").rename(tmp_path / "data" / "c.csv")
    with pytest.raises(DataError, match="data is not the folder that the recipe pins: md5"):
        run_steps(tmp_path, recipe, "pull")
