"""Tables of other people: the recipe loads, and each column has the kind that a person would say."""

from pathlib import Path
from typing import Any

import pytest
from support.new_recipes import WrittenRecipe, init
from support.projects import ROOT

from creche.errors import DataError

TABLES = ROOT.parent / "shared" / "data" / "tables"


def written_for(tmp_path: Path, file: str, label: str, **options: Any) -> WrittenRecipe:
    if not (TABLES / file).is_file():
        pytest.skip(f"{TABLES / file} is absent")
    return init(tmp_path, TABLES / file, label=label, **options)


def kinds(written: WrittenRecipe) -> dict[str, str]:
    return {name: column.kind for name, column in written.recipe.columns.items()}


def test_titanic(tmp_path: Path) -> None:
    written = written_for(tmp_path, "titanic.csv", "Survived")
    assert kinds(written) == {
        "Survived": "category",
        "Pclass": "category",
        "Sex": "category",
        "Age": "number",
        "SibSp": "number",
        "Parch": "number",
        "Fare": "number",
        "Embarked": "category",
    }
    assert set(written.left_out()) == {"PassengerId", "Name", "Ticket", "Cabin"}
    assert written.column("Age").missing == 177
    assert written.recipe.columns["Age"].missing == "allow"


@pytest.mark.slow
def test_adult_has_no_header_and_question_marks(tmp_path: Path) -> None:
    written = written_for(tmp_path, "adult.csv", "column_15")
    assert written.report.rows == 32_561
    assert written.recipe.columns["column_2"].missing_values == ("?",)
    assert written.column("column_2").missing == 1836
    assert written.recipe.columns["column_1"].kind == "number"
    assert written.left_out() == {"column_5": "one-to-one with column_4"}


@pytest.mark.slow
def test_bank_has_booleans_and_a_rare_class(tmp_path: Path) -> None:
    written = written_for(tmp_path, "bank-full.csv", "y")
    found = kinds(written)
    assert {name for name, kind in found.items() if kind == "boolean"} == {
        "default", "housing", "loan"}  # fmt: skip
    assert found["balance"] == "number"
    assert written.recipe.classes == ("no", "yes")
    assert written.recipe.gate.primary == "macro_f1"
    assert "-1 in " in written.column("pdays").warnings[0]


def test_car_has_orders(tmp_path: Path) -> None:
    columns = written_for(tmp_path, "car.data", "labels").recipe.columns
    assert columns["buying"].values == ("low", "med", "high", "vhigh")
    assert columns["doors"].values == ("2", "3", "4", "5more")
    assert columns["labels"].values == ("unacc", "acc", "good", "vgood")
    assert all(column.ordered for column in columns.values())


def test_zeros_of_pima_are_warned_of(tmp_path: Path) -> None:
    written = written_for(tmp_path, "diabetes.csv", "Class variable")
    warned = {column.name for column in written.report.columns if column.warnings}
    assert len(warned) == 5
    assert "triceps_skin_fold_thickness_mm" in warned
    assert "number_of_times_pregnant" not in warned
    assert written.recipe.columns["age_years"].unit == "years"


def test_abalone_is_refused_until_its_label_is_cut_into_bins(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="add `--bins 3`"):
        written_for(tmp_path, "abalone.csv", "column_9")
    written = written_for(tmp_path, "abalone.csv", "column_9", bins=3)
    assert written.recipe.classes == ("below 8", "8 to below 11", "11 or more")
    assert kinds(written)["column_1"] == "category"


def test_glass_has_numbers_and_few_rows_of_a_class(tmp_path: Path) -> None:
    written = written_for(tmp_path, "glass.csv", "Type")
    assert {kind for name, kind in kinds(written).items() if name != "Type"} == {"number"}
    assert written.report.classes["6"] == 9


@pytest.mark.slow
def test_mammography_has_a_class_of_two_percent(tmp_path: Path) -> None:
    written = written_for(tmp_path, "mammography.csv", "column_7")
    assert len(written.recipe.features) == 6
    assert written.report.classes == {"'-1'": 10_923, "'1'": 260}
    assert written.recipe.gate.metrics["macro_f1"] > 0.5


@pytest.mark.slow
def test_mushrooms_are_all_categories(tmp_path: Path) -> None:
    written = written_for(tmp_path, "mushrooms.csv", "type")
    assert set(kinds(written).values()) == {"category", "boolean"}
    assert written.left_out() == {"veil_type": "constant: every row has the same value"}
    assert written.column("stalk_root").missing == 2480


def test_heart_has_booleans_and_codes(tmp_path: Path) -> None:
    found = kinds(written_for(tmp_path, "heart.csv", "Disease"))
    assert found["sex"] == "boolean"
    assert found["chest_pain_type"] == "category"
    assert found["oldpeak"] == "number"
