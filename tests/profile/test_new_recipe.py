"""From a table to a recipe: what is used, what is left out, and where it is put."""

import math
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.new_recipes import init, write_csv
from support.projects import call_cli

from creche.contract.reading import dialect_to_dict
from creche.errors import DataError, UnreachableError, UsageError
from creche.profile import ProfileOptions, open_table, profile_table
from creche.profile.yaml_text import flow, scalar, wrapped
from creche.provenance import md5_of
from creche.recipe import expanded
from creche.recipe.yaml_reader import parse_yaml

Columns = dict[str, list[Any]]


def table_of(rows: int = 300, **further: list[Any]) -> Columns:
    """Return columns with a label that two of them predict by halves."""
    chance = random.Random(0)
    labels = [chance.choice(["kept", "returned"]) for _ in range(rows)]
    price, color = [], []
    for label in labels:
        price.append(round(chance.gauss(10 if label == "kept" else 13, 3), 2))
        color.append(chance.choice(["red", "blue", "blue" if label == "kept" else "red"]))
    return {"price": price, "color": color, **further, "label": labels}


def test_recipe_states_what_the_table_holds(tmp_path: Path) -> None:
    columns = table_of(empty=[""] * 300, holes=["", "1.5", "2", "3.25", "4"] * 60)
    written = init(tmp_path, columns)
    recipe = written.recipe
    assert tuple(recipe.features) == ("price", "color", "holes")
    assert recipe.classes == ("kept", "returned")
    assert recipe.columns["color"].values == ("blue", "red")
    price = recipe.columns["price"]
    assert price.min is not None
    assert price.max is not None
    assert price.min <= min(columns["price"])
    assert price.max >= max(columns["price"])
    assert recipe.columns["holes"].missing == "allow"
    assert price.missing == "refuse"
    assert written.left_out() == {"empty": "no value in any row"}
    assert "20.0 % missing" in written.text
    assert recipe.data.md5 == md5_of(tmp_path / "table.csv")


def test_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    assert init(tmp_path, table_of()).text == init(tmp_path, table_of()).text


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("shop", ["north"] * 300, "constant"),
        ("number", list(range(1, 301)), "count up"),
        ("code", [f"K{number:05d}" for number in range(300)], "every value is another one"),
        ("remarks", [f"what {number} wrote" for number in range(300)], "free text"),
        ("customer_id", [number * 7919 % 100_003 for number in range(300)], "by its name"),
        ("nothing", [""] * 300, "no value"),
        ("few", ["1"] * 4 + [""] * 296, "hardly any values"),
    ],
)
def test_column_that_says_nothing_is_left_out_with_the_reason(
    tmp_path: Path, name: str, cells: list[Any], reason: str
) -> None:
    written = init(tmp_path, table_of(**{name: cells}))
    assert reason in written.left_out()[name]
    assert f"#   {name}: " in written.text


def test_duplicate_of_another_column_is_left_out(tmp_path: Path) -> None:
    columns = table_of()
    columns["same"] = columns["price"]
    columns["shade"] = ["dark" if color == "red" else "light" for color in columns["color"]]
    left_out = init(tmp_path, columns).left_out()
    assert left_out["same"] == "equal to price in every row"
    assert left_out["shade"] == "one-to-one with color"


def test_column_that_predicts_the_label_alone_is_left_out_unless_kept(tmp_path: Path) -> None:
    columns = table_of()
    chance = random.Random(1)
    outcome = []
    for label in columns["label"]:
        outcome.append(chance.uniform(0, 1) if label == "kept" else chance.uniform(2, 3))
    columns["refund"] = outcome
    columns["state"] = ["K" if label == "kept" else "R" for label in columns["label"]]
    written = init(tmp_path, columns)
    assert "leaks the label" in written.left_out()["refund"]
    assert "leaks the label" in written.left_out()["state"]
    kept = init(tmp_path, columns, keep=("refund",))
    assert "refund" in kept.recipe.features
    assert "make sure that it is known before the label" in kept.column("refund").warnings[0]


def test_number_that_the_bins_of_the_label_follow_from_is_left_out(tmp_path: Path) -> None:
    columns = table_of(rows=1200)
    chance = random.Random(1)
    columns["label"] = [round(chance.uniform(10, 1000), 2) for _ in columns["label"]]
    columns["log_label"] = [math.log(label) for label in columns["label"]]
    written = init(tmp_path, columns, bins=3)
    assert "leaks the label" in written.left_out()["log_label"]
    assert "log_label" not in written.recipe.features


def test_leak_is_not_claimed_of_few_rows(tmp_path: Path) -> None:
    columns = table_of(rows=60)
    columns["width"] = [index + (0 if label == "kept" else 100)
                        for index, label in enumerate(columns["label"])]  # fmt: skip
    assert "width" in init(tmp_path, columns).recipe.features


def test_repeated_id_with_one_label_is_the_group(tmp_path: Path) -> None:
    columns = table_of()
    order = sorted(range(300), key=lambda index: columns["label"][index])
    columns = {name: [cells[index] for index in order] for name, cells in columns.items()}
    columns["patient_id"] = [f"P{index // 3}" for index in range(300)]
    written = init(tmp_path, columns)
    assert written.recipe.group == ("patient_id",)
    assert "patient_id" not in written.recipe.features
    assert init(tmp_path, columns, group=("price",)).recipe.group == ("price",)


def test_rare_class_is_named_and_weighed(tmp_path: Path) -> None:
    columns = table_of(rows=600)
    columns["label"] = ["rare" if index % 30 == 0 else "usual" for index in range(600)]
    columns["label"][1] = "single"
    written = init(tmp_path, columns)
    assert written.recipe.classes == ("rare", "usual")
    assert any("single (1)" in note for note in written.report.notes)
    assert "macro_f1" in written.text
    assert written.recipe.gate.recall == 0


def test_rows_without_a_label_are_said(tmp_path: Path) -> None:
    columns = table_of()
    columns["label"][:30] = [""] * 30
    assert "10.0 % of the rows have no label" in init(tmp_path, columns).report.notes[0]


def test_none_may_be_a_class(tmp_path: Path) -> None:
    columns = table_of()
    columns["label"] = ["none" if label == "kept" else "mild" for label in columns["label"]]
    columns["label"][:6] = ["NA"] * 6
    written = init(tmp_path, columns)
    assert written.recipe.classes == ("mild", "none")
    assert written.recipe.columns["label"].missing_values == ("NA",)
    assert "2.0 % of the rows have no label" in written.report.notes[0]


def test_file_without_header_is_recognized(tmp_path: Path) -> None:
    columns = table_of()
    lines = zip(*columns.values(), strict=True)
    path = tmp_path / "bare.data"
    path.write_text("\n".join(",".join(map(str, line)) for line in lines), encoding="utf-8")
    written = init(tmp_path, path, label="column_3")
    assert written.recipe.data.csv.header == "none"
    assert written.recipe.data.csv.names == ("column_1", "column_2", "column_3")
    assert written.report.rows == 300
    with pytest.raises(UsageError, match="it has column_1, column_2, column_3"):
        init(tmp_path, path, label="label")


@pytest.mark.parametrize(
    ("preamble", "dialect"),
    [
        ("# exported today\n# twice\n", {"comment": "#"}),
        ("Sales of the north\n\n", {"skip_lines": 2}),
        ("", {}),
    ],
)
def test_lines_before_the_table_are_passed_over(
    tmp_path: Path, preamble: str, dialect: dict[str, Any]
) -> None:
    rows = [",".join(map(str, row)) for row in zip(*table_of().values(), strict=True)]
    path = tmp_path / "table.csv"
    path.write_text(preamble + "\n".join(["price,color,label", *rows]), encoding="utf-8")
    written = init(tmp_path, path)
    assert dialect_to_dict(written.recipe.data.csv) == dialect
    assert written.report.rows == 300
    assert tuple(written.recipe.features) == ("price", "color")


def test_header_that_begins_with_a_mark_is_a_header(tmp_path: Path) -> None:
    columns = table_of()
    columns = {"#price": columns.pop("price"), **columns}
    path = tmp_path / "table.csv"
    lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *lines]), encoding="utf-8")
    assert "price" in init(tmp_path, path).recipe.features


def test_other_encoding_and_separator_are_found(tmp_path: Path) -> None:
    columns = table_of()
    columns["größe"] = ["groß" if color == "red" else "klein" for color in columns["color"]]
    path = write_csv(tmp_path / "table.csv", columns)
    text = path.read_text(encoding="utf-8").replace(",", ";")
    path.write_text(text, encoding="latin-1")
    written = init(tmp_path, path, keep=("größe",))
    assert written.recipe.data.csv.encoding == "cp1252"
    assert written.recipe.columns["größe"].values == ("groß", "klein")


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    columns = table_of()
    columns["when"] = [1_600_000_000 + 86_400 * index for index in range(300)]
    table = pa.table(columns).append_column("tags", pa.array([["a"]] * 300))
    dates = table["when"].cast(pa.timestamp("s"))
    table = table.set_column(table.schema.get_field_index("when"), "when", dates)
    pq.write_table(table, tmp_path / "table.parquet")
    written = init(tmp_path, tmp_path / "table.parquet")
    assert written.recipe.columns["when"].kind == "date"
    assert "lists or structs" in written.left_out()["tags"]


def test_large_table_is_sampled_and_counted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creche.profile.table_sample.FEWEST_SAMPLE_ROWS", 50)
    monkeypatch.setattr("creche.profile.table_sample.SAMPLE_CELLS", 50)
    columns = table_of(rows=1000)
    columns["price"][777] = 500.0
    columns["color"][778] = ""
    write_csv(tmp_path / "table.csv", columns)
    sample, source, _ = open_table(tmp_path / "table.csv", "table.csv")
    assert not sample.is_complete
    assert 50 <= sample.table.num_rows <= 100
    profile = profile_table(sample, source, ProfileOptions(label="label"))
    by_name = {column.name: column.counts for column in profile.columns}
    assert by_name["price"].largest == 500.0
    assert by_name["color"].missing == 1
    assert by_name["color"].rows == 1000


def test_query_is_a_table(tmp_path: Path) -> None:
    columns = table_of()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE sales (price REAL, color TEXT, label TEXT)")
        rows = list(zip(*columns.values(), strict=True))
        database.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
        database.commit()
    written = init(tmp_path, "sqlite:///shop.db", sql="SELECT * FROM sales")
    assert written.recipe.data.sql == "SELECT * FROM sales"
    assert tuple(written.recipe.features) == ("price", "color")
    with pytest.raises(DataError):
        init(tmp_path, "sqlite:///shop.db", sql="SELECT * FROM nothing")


def test_sheet_of_a_workbook_is_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["note"])
    sales = book.create_sheet("Sales")
    columns = table_of()
    sales.append(list(columns))
    for row in zip(*columns.values(), strict=True):
        sales.append(row)
    book.save(tmp_path / "book.xlsx")
    with pytest.raises(DataError, match="with --sheet"):
        init(tmp_path, tmp_path / "book.xlsx")
    written = init(tmp_path, tmp_path / "book.xlsx", sheet="Sales")
    assert written.recipe.data.sheet == "Sales"


def test_folder_of_tables_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "months").mkdir()
    for month in ("a", "b"):
        write_csv(tmp_path / f"months/{month}.csv", table_of())
    written = init(tmp_path, tmp_path / "months")
    assert written.report.rows == 600
    assert str(written.recipe.data.md5).endswith(".dir")


def test_columns_of_one_stem_are_one_line(tmp_path: Path) -> None:
    chance = random.Random(2)
    columns = table_of(rows=100)
    for number in range(30):
        columns[f"sensor_{number}"] = [chance.gauss(0, 1) for _ in range(100)]
    columns["sensor_8"] = ["", *columns["sensor_8"][1:]]
    written = init(tmp_path, columns)
    assert written.text.count('"sensor_*"') == 2
    recipe = expanded(written.recipe, list(columns))
    assert len(recipe.features) == 32
    assert recipe.columns["sensor_9"].missing == "allow"
    assert recipe.columns["sensor_9"].min is not None
    # A pattern would make a feature of a column that is left out.
    columns["sensor_7"] = [1.0] * 100
    assert '"sensor_*"' not in init(tmp_path, columns).text


def test_time_gives_a_split_forward_in_time(tmp_path: Path) -> None:
    columns = table_of()
    columns["sold"] = [f"2020-{1 + index // 30:02d}-{1 + index % 28:02d}" for index in range(300)]
    written = init(tmp_path, columns, time="sold")
    split = written.recipe.split
    assert (split.time, split.period, split.holdout_periods) == ("sold", "month", 3)
    with pytest.raises(DataError, match="holds no dates"):
        init(tmp_path, columns, time="color")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("price,price,label", "the header names 'price' twice"),
        ("price,Price_,label", "are one name for a recipe"),
        ("price,color,class", "--label label: "),
    ],
)
def test_header_that_no_recipe_can_name_is_refused(
    tmp_path: Path, header: str, message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(header + "\n" + "red,green,a\n" * 40, encoding="utf-8")
    with pytest.raises((DataError, UsageError), match=message):
        init(tmp_path, path)


def test_table_of_too_many_columns_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    line = ",".join(map(str, range(10_000)))
    header = ",".join(f"c{number}" for number in range(10_000))
    path.write_text(f"{header}\n{line}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="has 10,000 columns"):
        init(tmp_path, path, label="c0")


def test_recipe_is_not_overwritten_and_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    init(tmp_path, table_of())
    with pytest.raises(UsageError, match="exists: add --force"):
        init(tmp_path, table_of(), force=False)
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(DataError):
        init(project, tmp_path / "table.csv", label="price")
    assert not list(project.iterdir())


def test_table_from_elsewhere_is_copied_and_address_is_pinned(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "table.csv", table_of())
    project = tmp_path / "project"
    project.mkdir()
    written = init(project, path)
    assert written.recipe.data.path == "data/table.csv"
    assert md5_of(project / "data/table.csv") == written.recipe.data.md5
    report = call_cli(project, "init", path.as_uri(), "--label", "label", "--name", "web", "--json")
    assert report.returncode == 0, report.stderr
    text = (project / "recipes/web.yaml").read_text(encoding="utf-8")
    assert f"md5: {scalar(md5_of(path))}" in text
    assert (project / f"var/downloads/{md5_of(path)}/table.csv").is_file()


def test_command_prints_one_screen_and_writes_a_page(tmp_path: Path) -> None:
    write_csv(tmp_path / "shop.csv", table_of(shop=["north"] * 300))
    result = call_cli(tmp_path, "init", "shop.csv", "--label", "label")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("WRITTEN  recipes/shop.yaml\n")
    assert "left out  shop: constant" in result.stdout
    assert result.stdout.endswith("creche score shop.csv --recipe shop --out predictions\n")
    assert len(result.stdout.splitlines()) < 40
    page = (tmp_path / "var/profiles/shop/profile.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http" not in page
    again = call_cli(tmp_path, "init", "shop.csv", "--label", "label")
    assert again.returncode == 2
    wrong = call_cli(tmp_path, "init", "shop.csv", "--label", "label", "--bins", "x")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)


@pytest.mark.parametrize(
    "value", ["yes", "a: b", "#", "1e5", "010", "é", "\u2028", "tab\t", '"', "", " a", "a, b", "~"]
)
def test_text_is_read_back_as_it_was(value: str) -> None:
    text = f"columns: {{x: {flow({'values': [value]})}}}"
    assert parse_yaml(text)["columns"]["x"]["values"] == [value]
    lines = "\n".join(wrapped(flow({"values": [value] * 40}), 60, "    "))
    assert parse_yaml(f"columns:\n  x:\n{lines}")["columns"]["x"]["values"] == [value] * 40


@pytest.mark.parametrize("value", [0.1, 1e-7, 1e30, -2.5e-12, 3.0, -4.0, 1234567890123456789.0])
def test_number_is_read_back_as_it_was(value: float) -> None:
    assert float(parse_yaml(f"x: {scalar(value)}")["x"]) == value
    assert not isinstance(parse_yaml(f"x: {scalar(value)}")["x"], str)


def test_header_with_one_number_among_words_is_a_header(tmp_path: Path) -> None:
    columns: Columns = {
        "weight": [row * 7 % 31 for row in range(90)],
        "1": [row * 3 % 17 for row in range(90)],
        "label": [("cat", "dog")[row % 2] for row in range(90)],
    }
    written = init(tmp_path, columns)
    assert [column.header for column in written.report.columns] == ["weight", "1", "label"]


def test_columns_named_as_those_of_cross_validation_get_another_name(tmp_path: Path) -> None:
    columns: Columns = {
        "fold": [row * 7 % 31 for row in range(90)],
        "held_out": [row * 3 % 17 for row in range(90)],
        "label": [("cat", "dog")[row % 2] for row in range(90)],
    }
    assert list(init(tmp_path, columns).recipe.features) == ["fold_value", "held_out_value"]


@pytest.mark.parametrize("name", ["x" * 300, "..", "a/b", ""])
def test_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    columns: Columns = {
        "a": list(range(60)),
        "label": [("cat", "dog")[row % 2] for row in range(60)],
    }
    with pytest.raises(UsageError, match="is made of letters, digits"):
        init(tmp_path, columns, name=name)


def test_label_that_is_not_there_is_answered_with_similar_names(tmp_path: Path) -> None:
    columns: Columns = {f"column_{number}": ["a", "b", "c"] for number in range(40)}
    columns["survived"] = ["yes", "no", "yes"]
    with pytest.raises(UsageError, match="no such column; did you mean survived"):
        init(tmp_path, columns, label="survive")
    with pytest.raises(DataError, match="there is none beside the label: add some"):
        init(tmp_path, {"label": ["cat", "dog"] * 30})


def test_path_that_the_system_refuses_is_one_sentence(tmp_path: Path) -> None:
    result = call_cli(tmp_path, "init", f"{'x' * 300}.csv", "--label", "species")
    assert result.returncode == 1
    assert result.stderr.endswith(": File name too long\n")


def test_dates_of_one_day_are_no_time_to_split_by(tmp_path: Path) -> None:
    columns = table_of(60, born=["2020-01-05"] * 60)
    with pytest.raises(DataError, match="--time born: its dates are on 1 days, and training"):
        init(tmp_path, columns, time="born")


def test_validation_reaches_back_to_a_period_with_rows(tmp_path: Path) -> None:
    born = [("2020-01-05", "2021-01-05", "2022-01-05")[row % 3] for row in range(90)]
    split = init(tmp_path, table_of(90, born=born), time="born").recipe.split
    assert split.period == "quarter"
    assert split.validation_periods >= 4


def test_sheet_of_a_file_that_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no workbook, and a sheet is stated with --sheet"):
        init(tmp_path, table_of(60), sheet="Orders")


def test_bins_with_a_negative_edge_are_one_word_of_the_command(tmp_path: Path) -> None:
    columns = table_of(60, size=[row - 30.5 for row in range(60)])
    write_csv(tmp_path / "shop.csv", columns)
    result = call_cli(tmp_path, "init", "shop.csv", "--label", "size", "--bins=-10,0")
    assert result.returncode == 0, result.stderr
    first_line = (tmp_path / "recipes/shop.yaml").read_text().splitlines()[0]
    assert "--bins=-10,0" in first_line


def test_group_that_spreads_no_rows_is_refused_and_one_with_holes_is_noted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--group who: all rows are of 1 groups, and training"):
        init(tmp_path, table_of(60, who=["me"] * 60), group=("who",))
    people = [f"person {row % 20}" if row % 4 else "" for row in range(300)]
    written = init(tmp_path, table_of(300, who=people), group=("who",))
    assert written.report.notes[0].startswith("25.0 % of the rows have no who, by which the table")


def test_label_that_some_rows_spell_as_unknown_is_noted(tmp_path: Path) -> None:
    columns = table_of(300)
    columns["label"][:60] = ["unknown"] * 60
    written = init(tmp_path, columns)
    assert "have no label (it is empty, or unknown)" in written.report.notes[0]


def test_title_above_the_header_is_hinted_at(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Report,,,\nprice,size,color,label\n" + "1,2,red,a\n" * 30)
    with pytest.raises(UsageError, match="where a title stands above the header, remove it"):
        init(tmp_path, tmp_path / "t.csv")


def test_address_that_does_not_respond_is_answered_with_what_this_command_takes(
    tmp_path: Path,
) -> None:
    with pytest.raises(UnreachableError, match="download it elsewhere, and name the file"):
        init(tmp_path, "http://127.0.0.1:9/shop.csv")


def test_row_names_of_a_shuffled_table_are_left_out(tmp_path: Path) -> None:
    numbers = random.Random(0).sample(range(5000), 300)
    columns: Columns = {"": numbers, **table_of(300)}
    left_out = init(tmp_path, columns).left_out()
    assert [reason.partition(":")[0] for reason in left_out.values()] == ["row names"]
