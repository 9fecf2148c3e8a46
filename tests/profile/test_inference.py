"""What is inferred from the cells of one column."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from creche.errors import DataError
from creche.profile.categories import ordered_values
from creche.profile.column_keys import MANY_ROWS, encoding
from creche.profile.counts import CellCounts
from creche.profile.dates import parse_dates
from creche.profile.distinct import distinct_cells
from creche.profile.inference import infer_column
from creche.profile.inferred_column import InferredColumn
from creche.profile.label import infer_label
from creche.profile.names import recipe_names, unit_of
from creche.profile.nice_numbers import limits_with_room
from creche.profile.numbers import NumberFormat
from creche.profile.plan import ProfiledColumn


def infer(cells: list[Any], name: str = "column") -> InferredColumn:
    return infer_column(distinct_cells(name, pa.array(cells)))


@pytest.mark.parametrize(
    "pair", [("yes", "no"), ("Y", "N"), ("TRUE", "False"), ("t", "f"), ("on", "off"), ("1", "0")]
)
def test_two_spellings_of_true_and_false_are_a_boolean(pair: tuple[str, str]) -> None:
    column = infer([pair[0], pair[1], "", pair[0]] * 10)
    assert column.kind == "boolean"
    assert column.codes[:4].tolist() == [1, 0, -1, 1]
    assert column.missing_rows == 10


def test_native_types_keep_their_kind() -> None:
    assert infer([True, False, None] * 5).kind == "boolean"
    assert infer([1.5, 2.0, None] * 5).kind == "number"
    assert infer([[1], [2]] * 5).kind == "nested"
    assert infer([b"\xff", b"a"] * 5).kind == "bytes"
    assert infer([np.datetime64("2020-01-01T00:00:00", "us")] * 5).kind == "date"


def test_lists_and_structs_in_a_json_file_are_nested_and_intervals_a_category() -> None:
    assert infer(['["a"]', "[]", '["a", "b"]'] * 9).kind == "nested"
    assert infer(['{"x": 1}', "", '{"x": 2}'] * 9).kind == "nested"
    assert infer(["[0, 10]", "[10, 20]"] * 9).kind == "category"
    assert infer(["[a]", "[b]"] * 9).kind == "category"


@pytest.mark.parametrize(
    ("cells", "number_format", "numbers"),
    [
        (["1.5", "-2", "3e2"], NumberFormat(), [1.5, -2, 300]),
        (["1,5", "2", "0,25"], NumberFormat(","), [1.5, 2, 0.25]),
        (["1.234,5", "1.000,0"], NumberFormat(",", "."), [1234.5, 1000]),
        (["1,234.5", "1,000,000"], NumberFormat(".", ","), [1234.5, 1_000_000]),
        (["$5", "$ 7.50"], NumberFormat(symbols=("$",)), [5, 7.5]),
        (["12%", "3.5 %"], NumberFormat(symbols=("%",)), [12, 3.5]),
        (["1 000", "20"], NumberFormat(".", " "), [1000, 20]),
    ],
)
def test_format_of_numbers_is_found(
    cells: list[str], number_format: NumberFormat, numbers: list[float]
) -> None:
    column = infer(cells)
    assert column.kind == "number"
    assert column.number_format == number_format
    assert column.numbers is not None
    assert column.numbers.tolist() == numbers


def test_comma_that_may_mean_either_is_a_warning() -> None:
    assert "may separate thousands" in infer(["1,234", "2,500", "7,000"]).warnings[0]
    assert not infer(["1,234", "12,5"]).warnings


def test_codes_with_leading_zeros_are_no_numbers() -> None:
    assert infer(["007", "012", "007", "100"] * 5).kind == "category"


@pytest.mark.parametrize("spelling", ["?", "-", "unknown", "n.a."])
def test_word_among_numbers_is_a_missing_value(spelling: str) -> None:
    column = infer(["1", "2.5", spelling, "NA"] * 5)
    assert column.kind == "number"
    assert column.missing_rows == 10
    assert column.stated_spellings == tuple(sorted((spelling, "NA")))


def test_word_among_words_may_be_a_value_and_a_question_mark_is_none() -> None:
    column = infer(["a", "b", "unknown", "?"] * 5)
    assert column.values == ("a", "b", "unknown")
    assert column.missing_rows == 5


def test_zero_far_from_all_other_numbers_is_a_warning_and_no_change() -> None:
    glucose = infer([str(number) for number in [0, 0, *range(70, 190)]])
    assert glucose.missing_rows == 0
    assert 'add missing_values: ["0"]' in glucose.warnings[0]
    assert not infer([str(number % 7) for number in range(100)]).warnings
    assert "-999" in infer([*["-999"] * 3, *map(str, range(100))]).warnings[0]


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        (["2020-01-31", "2021-12-01"], ()),
        (["2020-01-31T10:00:00Z", "2021-12-01 08:30"], ()),
        (["31.12.2020", "01.02.2021"], ("%d.%m.%Y",)),
        (["12/31/2020", "01/02/2021"], ("%m/%d/%Y",)),
        (["31/12/2020", "01/02/2021"], ("%d/%m/%Y",)),
        (["1 Jan 2020", "28 Feb 2021"], ("%d %b %Y",)),
        (["31.12.2020 10:30", "01.02.2021 11:00"], ("%d.%m.%Y %H:%M",)),
    ],
)
def test_format_of_dates_is_found(cells: list[str], formats: tuple[str, ...]) -> None:
    column = infer(cells * 4)
    assert column.kind == "date"
    assert column.date_formats.formats == formats
    assert not column.warnings


def test_dates_in_two_formats_are_a_warning() -> None:
    column = infer(["2020-01-31", "31.12.2020", "13.01.2021", "2021-05-06"] * 5)
    assert column.kind == "date"
    assert set(column.date_formats.formats) == {"iso", "%d.%m.%Y"}
    assert "2 formats" in column.warnings[0]


def test_day_and_month_that_may_be_swapped_are_a_warning() -> None:
    assert "may be swapped" in infer(["01/02/2020", "03/04/2020"] * 5).warnings[0]


def test_impossible_date_is_no_date() -> None:
    column = infer([*[f"{day:02d}.01.2020" for day in range(1, 31)], "31.02.2020"])
    assert (column.kind, column.bad_rows) == ("date", 1)
    assert np.isnan(parse_dates(pa.array(["31.02.2020"]), ("%d.%m.%Y",))[0])


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        (["high", "low", "med", "vhigh"], ["low", "med", "high", "vhigh"]),
        (["2", "3", "4", "5more"], ["2", "3", "4", "5more"]),
        (["18-30", "30+", "<18"], ["<18", "18-30", "30+"]),
        (["Fair", "Good", "Ideal", "Premium", "Very Good"],
         ["Fair", "Good", "Very Good", "Premium", "Ideal"]),
        (["red", "green", "blue"], None),
        (["1", "2", "3"], None),
        (["low", "high"], None),
    ],
)  # fmt: skip
def test_order_is_found_where_it_is_known(values: list[str], ordered: list[str] | None) -> None:
    assert ordered_values("column", values) == ordered


def test_grades_are_ordered_where_the_name_says_that_they_are_grades() -> None:
    assert ordered_values("grade", ["A", "B", "C"]) == ["C", "B", "A"]
    assert ordered_values("type", ["A", "B", "C"]) is None


def test_spellings_that_differ_by_case_and_spaces_are_one_value() -> None:
    column = infer(["Red", "Red", "red", "Dark  blue", "Dark blue"] * 4)
    assert column.values == ("Dark blue", "Red")
    assert column.normalize == ("case", "spaces")
    assert column.variants["Red"] == ["red"]


def test_texts_that_hardly_repeat_are_text() -> None:
    assert infer([f"customer {number} wrote" for number in range(60)]).kind == "text"
    assert infer(["a", "b", "c"] * 20).kind == "category"


def test_few_cells_that_are_no_numbers_leave_a_column_of_numbers() -> None:
    column = infer([*map(str, range(100)), "broken"])
    assert (column.kind, column.bad_rows, column.bad_cells) == ("number", 1, ("broken",))
    assert column.missing_rows == 0


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("mass_g", "g"),
        ("Length (mm)", "mm"),
        ("Speed [km/h]", "km/h"),
        ("age_years", "years"),
        ("body_mass", None),
        ("Index (weight in kg/(height in m)^2)", None),
        ("vitamin g", None),
    ],
)
def test_unit_is_read_from_the_header(header: str, unit: str | None) -> None:
    assert unit_of(header) == unit


def test_names_in_a_recipe_are_readable_and_none_is_reserved() -> None:
    header = ["Age", "Length (mm)", "row", "#", "x" * 80, "2nd price", "label", "ood_score"]
    names = recipe_names(header, "label")
    assert names["label"] == ("label", ())
    assert names["ood_score"] == ("ood_score_value", ("ood_score",))
    assert names["Age"] == ("Age", ())
    assert names["Length (mm)"] == ("length_mm", ())
    assert names["row"] == ("row_value", ("row",))
    assert "#" not in names
    assert names["x" * 80] == ("x" * 40, ("x" * 80,))
    assert names["2nd price"] == ("2nd_price", ())


@pytest.mark.parametrize(
    ("numbers", "limits"),
    [
        ((0.42, 80.0), (0.0, 100.0)),
        ((1.511, 1.534), (1.505, 1.54)),
        ((-5.0, 5.0), (-8.0, 8.0)),
        ((100.0, 100.0), (70.0, 130.0)),
    ],
)
def test_limits_leave_a_quarter_of_the_range(
    numbers: tuple[float, float], limits: tuple[float, float]
) -> None:
    assert limits_with_room(*numbers) == limits


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([str(number / 7) for number in range(100)], "add `--bins 3` for 3 classes"),
        (["a"] * 30, "needs two classes"),
        ([""] * 30, "has no value in any row"),
        ([f"text {number}" for number in range(40)], "which are no classes"),
        (["2020-01-01", "2020-01-02"] * 20, "is a date"),
        ([[1], [2]] * 20, "holds lists or structs"),
        ([*["1", "2"] * 15, *"456789", *"456789"], "add `--bins 3`"),
        (["a"] * 30 + ["b"] * 2, "fewer than two classes with 5 rows each"),
    ],
)
def test_label_that_has_no_classes_is_refused_with_a_way_out(
    cells: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        infer_label(distinct_cells("label", pa.array(cells)), None)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["1", "0"] * 20, ("0", "1")),
        (["yes", "no"] * 20, ("no", "yes")),
        ([True, False] * 20, ("false", "true")),
        ([3, 1, 2] * 20, ("1", "2", "3")),
        (["none", "mild", "severe"] * 20, ("none", "mild", "severe")),
        (["a", "b", "unknown"] * 20, ("a", "b")),
        (["a", "b", "?"] * 20, ("a", "b")),
        ([*["a", "b"] * 20, "c"], ("a", "b")),
    ],
)
def test_label_keeps_the_spelling_of_its_classes(
    cells: list[Any], classes: tuple[str, ...]
) -> None:
    assert infer_label(distinct_cells("label", pa.array(cells)), None).classes == classes


def test_number_as_label_is_cut_into_bins() -> None:
    distinct = distinct_cells("rings", pa.array(list(range(30)) * 5))
    label = infer_label(distinct, 3)
    assert label.classes == ("below 10", "10 to below 19", "19 or more")
    assert infer_label(distinct, (8, 11)).counts().tolist() == [40, 15, 95]
    with pytest.raises(DataError, match="edges that rise"):
        infer_label(distinct, (11, 8))
    with pytest.raises(DataError, match="has 0 rows"):
        infer_label(distinct, (100,))


@pytest.mark.parametrize(
    ("rows", "values", "encoded"),
    [
        (MANY_ROWS - 1, 9, "one-hot"),
        (MANY_ROWS, 9, {"embedding": {"width": 4, "min_rows": 5}}),
        (MANY_ROWS, 4, "one-hot"),
    ],
)
def test_category_of_a_large_table_gets_vectors_where_one_hot_would_take_gigabytes(
    rows: int, values: int, encoded: object
) -> None:
    names = [f"value {index}" for index in range(values)]
    counts = CellCounts(rows=rows, by_value=dict.fromkeys(names, rows // values))
    assert encoding(ProfiledColumn("c", infer(names * 20), counts)) == encoded
