"""The keys of booleans, bins, dates and written numbers: each misuse is one error with its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from creche.errors import RecipeError
from creche.recipe import Recipe, load

COLUMNS: dict[str, Any] = {
    "amount": {"kind": "number"},
    "color": {"kind": "category", "values": ["Red", "Blue"]},
    "member": {"kind": "boolean"},
    "born": {"kind": "date"},
    "rings": {"kind": "bins", "edges": [8, 11]},
}


def loaded(folder: Path, columns: dict[str, Any], **keys: Any) -> Recipe:
    """Load a recipe of which some columns and sections are changed."""
    content = {
        "description": "a test",
        "data": {"path": "data/x.csv"},
        "columns": {name: {**COLUMNS[name], **columns.get(name, {})} for name in COLUMNS},
        "label": "rings",
        "features": {"amount": "standardize", "member": "one-hot", "born": "date-parts"},
        **keys,
    }
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    return load(str(path), folder)


@pytest.mark.parametrize(
    ("column", "stated", "message"),
    [
        (
            "amount",
            {"true_values": ["x"]},
            "true_values is for the kind boolean, and the kind is nu",
        ),
        (
            "amount",
            {"thousands": ",", "decimal_mark": ","},
            ".thousands: is ',', as decimal_mark is",
        ),
        ("amount", {"symbols": ["1"]}, ".symbols: '1' may be part of a number"),
        ("amount", {"symbols": [""]}, ".symbols: '' may be part of a number"),
        ("amount", {"normalize": ["case"]}, "normalize is for the kind category"),
        ("color", {"thousands": ","}, "thousands is for the kind number or bins"),
        ("color", {"values": ["Red", "RED"], "normalize": ["case"]}, "differ in nothing else"),
        ("color", {"normalize": ["accents"]}, "it must be 'case' or 'spaces'"),
        ("member", {"values": ["true"]}, "values are for a category"),
        ("member", {"true_values": ["0"]}, "'0' is a spelling of both true and false"),
        ("member", {"false_values": ["NA"]}, "'na' is read as a missing value"),
        ("member", {"min": 0}, "min and max are for a number"),
        ("born", {"formats": ["%d.%m."]}, ".formats: '%d.%m.' reads no date"),
        ("born", {"formats": ["%q"]}, ".formats: '%q' reads no date"),
        ("born", {"formats": ["%Y %Y"]}, ".formats: '%Y %Y' reads no date"),
        ("born", {"time_zone": "Mars/Base"}, ".time_zone: 'Mars/Base' is no time zone"),
        (
            "born",
            {"earliest": "2020-02-30"},
            ".earliest: is '2020-02-30': state a date that exists",
        ),
        ("born", {"earliest": "2021-01-01", "latest": "2020-01-01"}, "must not lie after latest"),
        ("born", {"edges": [1]}, "edges is for the kind bins"),
        ("rings", {"edges": []}, ".edges: are not stated"),
        ("rings", {"edges": [8, 8]}, ".edges: are 8, 8: list finite numbers, each above the one"),
        ("rings", {"max": 9}, "min and max are for a number, and the kind is bins"),
    ],
)
def test_misuse_of_a_key_is_one_error_with_its_column(
    tmp_path: Path, column: str, stated: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        loaded(tmp_path, {column: stated})
    text = str(error.value)
    assert f"columns.{column}" in text
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"features": {"born": "standardize"}},
            "features.born: is standardize, and the kind of the",
        ),
        ({"features": {"amount": "date-parts"}}, "features.amount: is date-parts, and the kind of"),
        (
            {"features": {"born": {"date_parts": []}}},
            "features.born.date_parts: is []: Tuple should",
        ),
        (
            {"features": {"born": {"date_parts": ["week"]}}},
            "features.born.date_parts.0: is 'week': it must be 'year', 'month'",
        ),
        (
            {"features": {"born": {"date_parts": ["day", "day"]}}},
            "features.born.date_parts: is ['day', 'day']: a part is stated twice: remove",
        ),
        (
            {"features": {"amount": {"divide": 0}}},
            "features.amount.divide: is 0: it must be greater",
        ),
        (
            {"features": {"amount": {"half": 1}}},
            "features.amount: is {'half': 1}: it must be 'one-h",
        ),
        ({"features": {"member": "robust"}}, "features.member: is robust"),
        (
            {"label": "born", "features": {"amount": "standardize"}},
            "columns.born: the label is a dat",
        ),
        (
            {"label": "amount", "features": {"member": "one-hot"}},
            "as `amount: {kind: bins, edges: [10, 20]}`",
        ),
        (
            {"split": {"holdout": {"member": "maybe"}}},
            "split.holdout.member: 'maybe' is neither true",
        ),
        (
            {"gate": {"behavior": [{"name": "x", "change": {"born": 3}, "expect": "same"}]}},
            "{add: SE",
        ),
        (
            {"gate": {"behavior": [{"name": "x", "change": {"amount": 3}, "expect": "many"}]}},
            "gate.behavior.0.expect: is 'many': use one of same, unknown, below 8, 8 to below 11",
        ),
    ],
)
def test_misuse_of_a_column_is_one_error_with_its_key(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        loaded(tmp_path, {}, **keys)
    text = str(error.value)
    assert message in text
    assert "\n" not in text


def test_classes_are_named_in_any_spelling_of_the_label(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        """
description: a test
data: {path: data/x.csv}
columns: {paid: {kind: boolean}, amount: {kind: number}}
label: paid
features: {amount: standardize}
training: {class_weights: {true: 2, N: 1}}
cost: {true: {false: 5}, "no": {"yes": 1, unknown: 2}}
gate: {behavior: [{name: x, change: {amount: null}, expect: unknown}]}
"""
    )
    recipe = load(str(path), tmp_path)
    assert recipe.training.class_weights == {"true": 2.0, "false": 1.0}
    assert recipe.cost == {"true": {"false": 5.0}, "false": {"true": 1.0, "unknown": 2.0}}
    assert recipe.gate.behavior[0].expect == "unknown"


def test_spellings_and_dates_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        """
description: a test
data: {path: data/x.csv}
columns:
  member: {kind: boolean, true_values: [yes, on], false_values: [no, off, 0]}
  born: {kind: date, earliest: 1990-01-01, latest: 2030-01-01 12:00}
  grade: {kind: category, values: [1, 2, 3]}
label: grade
features: {member: ordinal, born: {date_parts: [year]}}
split: {holdout: {member: true}}
"""
    )
    recipe = load(str(path), tmp_path)
    assert recipe.columns["member"].true_values == ("yes", "on")
    assert recipe.columns["member"].false_values == ("no", "off", "0")
    assert recipe.columns["born"].latest == "2030-01-01 12:00"
    assert recipe.split.designated_holdout == ("member", "true")
    assert recipe.classes == ("1", "2", "3")
