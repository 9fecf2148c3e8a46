"""The split forward in time: train, validation and holdout are consecutive periods."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from creche.data.placement import split_rows
from creche.data.split_report import report_of
from creche.data.time_periods import period_numbers, value_range
from creche.errors import DataError, RecipeError
from creche.pipeline.validate import validate
from creche.recipe import Recipe, load
from creche.records import RunRecord, SplitReport
from creche.records.data import ValueRange
from creche.reporting.sections import sections

DAYS = st.dates(date(1950, 1, 1), date(2100, 1, 1))


def recipe_with(tmp_path: Path, split: dict[str, Any], **changes: Any) -> Recipe:
    content: dict[str, Any] = {
        "description": "a table with a time",
        "data": {"path": "data/x.csv"},
        "columns": {
            "day": {"kind": "number", "unit": "days"},
            "shop": {"kind": "text"},
            "x": {"kind": "number"},
            "label": {"kind": "category", "values": ["a", "b"]},
        },
        "label": "label",
        "features": {"x": "standardize"},
        "split": split,
    }
    path = tmp_path / "recipes" / "x.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content | changes))
    return load(str(path), tmp_path)


def by_day(tmp_path: Path, **changes: Any) -> Recipe:
    return recipe_with(tmp_path, {"time": "day", "period": 10}, **changes)


def table_of(days: Sequence[float], shops: Sequence[str] | None = None) -> pa.Table:
    count = len(days)
    return pa.table(
        {
            "row": np.arange(1, count + 1),
            "day": np.array(days, float),
            "shop": list(shops or ["A"] * count),
            "x": np.arange(count) / 8,
            "label": ["a", "b"] * (count // 2) + ["a"] * (count % 2),
        }
    )


def splits_of(table: pa.Table, recipe: Recipe) -> list[str]:
    names: list[str] = split_rows(table, recipe)["split"].to_pylist()
    return names


def test_newest_period_is_the_holdout_and_the_one_before_it_validation(tmp_path: Path) -> None:
    days = [3, 4, 9, 10, 12, 19.5, 20, 29, 30, 31]
    expected = ["train"] * 6 + ["validation"] * 2 + ["holdout"] * 2
    assert splits_of(table_of(days), by_day(tmp_path)) == expected


def test_appended_rows_move_none_from_the_holdout_before_its_period_has_passed(
    tmp_path: Path,
) -> None:
    recipe = by_day(tmp_path)
    days = [3, 4, 13, 14, 23, 24]
    before = splits_of(table_of(days), recipe)
    same_period = splits_of(table_of([*days, 2, 12, 29.9, 27]), recipe)
    assert same_period[:6] == before
    next_period = splits_of(table_of([*days, 31, 32]), recipe)
    assert next_period[4:6] == ["validation", "validation"]


def test_group_is_in_the_split_of_its_newest_row_and_older_rows_are_left_out(
    tmp_path: Path,
) -> None:
    recipe = by_day(tmp_path, group=["shop"])
    days = [1, 2, 3, 4, 13, 14, 11, 23, 24]
    shops = ["A", "B", "C", "C", "D", "A", "B", "A", "E"]
    table = table_of(days, shops)
    split = split_rows(table, recipe)
    assert split["split"].to_pylist() == [
        "left out", "left out", "train", "train", "validation", "left out", "validation",
        "holdout", "holdout",
    ]  # fmt: skip


def test_report_has_rows_groups_and_times_of_each_split(tmp_path: Path) -> None:
    recipe = by_day(tmp_path)
    table = table_of([1, 4, 13, 14, 23, 24, 29])
    split = split_rows(table, recipe)
    hashes = split["group_hash"].to_numpy()
    places = pa.compute.index_in(split["split"], pa.array(["train", "validation", "holdout"]))
    report = SplitReport(**report_of(table, places.to_numpy().astype(np.int8), hashes, recipe))
    assert report.holdout == {"a": 2, "b": 1}
    assert report.groups == {"train": 2, "validation": 2, "holdout": 3}
    assert (report.times["holdout"].first, report.times["holdout"].last) == ("23", "29")


def test_champion_has_seen_a_row_exactly_where_its_run_was_trained_on_it(tmp_path: Path) -> None:
    recipe = by_day(tmp_path)
    days = [1, 4, 13, 14, 23, 24]
    earlier = split_rows(table_of(days), recipe).to_pandas()
    later = split_rows(table_of([*days, 33, 34]), recipe).to_pandas()
    seen = set(earlier["group_hash"][earlier["split"] != "holdout"])
    assert not seen & set(later["group_hash"][later["split"] == "holdout"])
    assert seen == set(later["group_hash"][later["split"] == "train"])
    # A champion that has seen the newest period is not comparable on it.
    newest = set(later["group_hash"][later["split"] == "holdout"])
    assert newest <= set(later["group_hash"]) - seen


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ([23, 24, 25, 26], r"none of the 4 accepted rows is in the validation split \(day from 23 to 26\)"),
        ([3, 4, 23, 24], r"none of the 4 accepted rows is in the validation split"),
        ([13, 14, 23, 24], r"none of the 4 accepted rows is in the train split"),
        ([3, 4, 13, 14, 24], r"the holdout split has none of the 2 rows \(2 groups\) of label b: add such rows, choose another split.period"),
    ],
)  # fmt: skip
def test_table_that_does_not_spread_over_the_periods_is_refused(
    tmp_path: Path, days: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split_rows(table_of(days), by_day(tmp_path))


def test_table_whose_groups_all_have_a_newer_row_is_refused(tmp_path: Path) -> None:
    recipe = by_day(tmp_path, group=["shop"])
    with pytest.raises(DataError, match="4 rows are left out, since their group has a newer row"):
        split_rows(table_of([1, 2, 13, 14, 23, 24]), recipe)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"time": "when", "period": 1}, "split.time: 'when' is not under columns"),
        ({"time": "label", "period": 1}, "split.time: 'label' is a category: use a column of dates"),
        ({"time": "day"}, "split.period: is not stated, and split.time day is a number: state the width"),
        ({"time": "day", "period": "month"}, "split.period: is month, and split.time day is a number"),
        ({"time": "day", "period": -1}, "split.period: is -1, and split.time day is a number"),
        ({"time": "day", "period": 1, "holdout": 0.3}, "split: time and holdout exclude each other"),
        ({"period": 1}, "split: period goes with time"),
        ({"time": "day", "period": 1, "holdout_periods": 0}, "split.holdout_periods: is 0"),
    ],
)  # fmt: skip
def test_split_that_contradicts_itself_is_refused(
    tmp_path: Path, split: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_with(tmp_path, split)


def test_recipe_is_the_same_after_json(tmp_path: Path) -> None:
    for recipe in (by_day(tmp_path), recipe_with(tmp_path, {"validation": 0.3})):
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_without_validation_periods_nothing_may_be_chosen_by_them(tmp_path: Path) -> None:
    split = {"time": "day", "period": 1, "validation_periods": 0}
    with pytest.raises(RecipeError, match=r"split\.validation_periods is 0, so only the holdout"):
        recipe_with(tmp_path, split, training={"checkpoint_selection": "best"})


def test_dates_of_a_file_are_split_by_month(tmp_path: Path) -> None:
    days = ["2024-01-05", "2024-01-31", "2024-02-01", "2024-02-29", "2024-03-01", "2024-03-02"]
    rows = [f"{day},{index},{'ab'[index % 2]}" for index, day in enumerate(days)]
    (tmp_path / "x.csv").write_text("\n".join(["born,x,label", *rows, ",9,a"]) + "\n")
    columns = {
        "born": {"kind": "date"},
        "x": {"kind": "number"},
        "label": {"kind": "category", "values": ["a", "b"]},
    }
    recipe = recipe_with(tmp_path, {"time": "born", "period": "month"}, columns=columns)
    validated = validate(tmp_path / "x.csv", "x.csv", recipe)
    assert validated.report.reasons == {"born: missing": 1}
    names = splits_of(validated.accepted, recipe)
    assert names == ["train"] * 2 + ["validation"] * 2 + ["holdout"] * 2


@pytest.mark.parametrize("period", [None, 10, "decade"])
def test_dates_have_a_named_period(tmp_path: Path, period: Any) -> None:
    columns = {
        "born": {"kind": "date"},
        "x": {"kind": "number"},
        "label": {"kind": "category", "values": ["a", "b"]},
    }
    with pytest.raises(RecipeError, match=r"split\.time born is a date: use one of day, week,"):
        recipe_with(tmp_path, {"time": "born", "period": period}, columns=columns)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"time": "day", "period": 10}, [["train", 3, 2, "1 to 4", "2 (66.7%)", "1 (33.3%)"]]),
        ({"folds": 2}, [["fold 1", 4, "2 (50.0%)", "2 (50.0%)"]]),
    ],
)
def test_card_states_rows_and_class_shares(
    tmp_path: Path, split: dict[str, Any], expected: list[Any]
) -> None:
    counts = {"a": 2, "b": 1}
    report = SplitReport(train=counts, validation=counts, holdout=counts)
    if "folds" in split:
        report = report.model_copy(update={"folds": [{"a": 2, "b": 2}]})
    else:
        times = {name: ValueRange(first="1", last="4") for name in report.by_split()}
        update = {"times": times, "groups": dict.fromkeys(times, 2), "left_out": 7}
        report = report.model_copy(update=update)
    run = RunRecord(run_id="r", recipe="x", trigger="test", started="now", split=report)
    (section,) = sections(run, None)
    assert [list(row) for row in section.rows[:1]] == expected
    assert ("7 rows are left out" in " ".join(section.lines)) == ("time" in split)


@given(st.lists(DAYS, min_size=1, max_size=20))
def test_periods_are_those_of_the_calendar(days: list[date]) -> None:
    start = datetime(1970, 1, 1, tzinfo=UTC)
    times = [datetime(d.year, d.month, d.day, 23, 59, 59, tzinfo=UTC) for d in days]
    values = pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))])
    monday = date(1969, 12, 29)
    expected = {
        "day": [(time - start) // timedelta(days=1) for time in times],
        "week": [(day - monday).days // 7 for day in days],
        "month": [(day.year - 1970) * 12 + day.month - 1 for day in days],
        "quarter": [(day.year - 1970) * 4 + (day.month - 1) // 3 for day in days],
        "year": [day.year - 1970 for day in days],
    }
    for period, numbers in expected.items():
        assert period_numbers(values, period).tolist() == numbers, period


def test_times_are_written_without_what_is_zero() -> None:
    times = [datetime(2020, 5, 1, tzinfo=UTC), datetime(2020, 5, 1, 12, 30, tzinfo=UTC)]
    values = pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))])
    assert value_range(values) == ("2020-05-01", "2020-05-01 12:30:00")
