"""`creche check`: recipe and data without a training."""

import json
from pathlib import Path

import pytest
from support.graded_table import graded_lines, graded_project
from support.projects import call_cli

from creche.records import RecipeCheck


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_check_states_rows_split_and_network_and_leaves_nothing(tmp_path: Path) -> None:
    graded_project(tmp_path, lines=[*graded_lines(), "s1,good,-3,1", "s2,worse,-1,2"])
    before = files(tmp_path)
    result = call_cli(tmp_path, "check", "small")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("OK  small: recipe and data fit together; nothing was trained")
    for line in (
        "  rows      122 in, 120 accepted, 2 quarantined (1.6%)",
        "            2 × weight: below 0",
        "            1 × grade: not one of good, bad",
        "  features  weight (number): standardize, 1 input",
        "  network   mlp, 2 inputs → 2 classes, 162 parameters",
    ):
        assert line in result.stdout.splitlines()
    assert files(tmp_path) - before <= {"var/.gitignore"}
    assert not list((tmp_path / "var/tmp").glob("*"))


def test_check_of_refused_data_states_why_with_exit_code_1(tmp_path: Path) -> None:
    lines = [line.replace("bad", "worse") for line in graded_lines()]
    graded_project(tmp_path, lines=lines)
    result = call_cli(tmp_path, "check", "small", "--json")
    assert result.returncode == 1
    record = RecipeCheck.model_validate(json.loads(result.stdout))
    assert not record.passed
    assert record.message.startswith("table.csv: 60 of 120 rows (50.0%) break the contract")
    assert "; see " not in record.message
    assert record.validation is not None
    assert record.validation.reasons == {"grade: not one of good, bad": 60}
    assert record.split is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check"], 2, "the following arguments are required: RECIPE"),
        (["check", "absent"], 1, "creche: no recipe 'absent'"),
    ],
)
def test_check_of_no_recipe_is_answered(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = call_cli(tmp_path, *arguments)
    assert result.returncode == code
    assert message in result.stderr
