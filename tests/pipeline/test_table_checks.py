"""Checks of a table as a whole: rows, age, reference tables."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.graded_table import GRADED_RECIPE, graded_lines, graded_project

from creche import provenance
from creche.errors import DataError, RecipeError
from creche.pipeline import run_step
from creche.pipeline.runner import PipelineRunner, RunOptions
from creche.pipeline.table_checks import check_table, newest_of
from creche.project import SOURCE, VALIDATION_REPORT, RunPaths, read_record
from creche.recipe import Recipe
from creche.records import SourceInfo, ValidationReport
from creche.registry import JudgedRun

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITES = {"reference": {"site": {"file": "refs/sites.csv", "column": "code"}}}


def report(rows: int, newest: str | None = None) -> ValidationReport:
    return ValidationReport(
        source="x.csv",
        rows=rows,
        accepted=rows,
        quarantined=0,
        share_quarantined=0,
        reasons={},
        renamed={},
        ignored=[],
        classes={},
        newest=newest,
    )


def judged(rows: int | None, newest: str | None = None) -> JudgedRun:
    return JudgedRun("m", "run-1", "PROMOTE", "f", rows, newest)


def validated(recipe: Recipe, paths: RunPaths, **options: Any) -> ValidationReport:
    run_step("pull", recipe, paths)
    result: ValidationReport = run_step("validate", recipe, paths, **options)
    return result


def with_dates(root: Path, newest: str) -> tuple[Recipe, RunPaths]:
    header, first, *rest = graded_lines()
    lines = [f"{header},seen", f"{first},{newest}", *[f"{line},2025-12-31" for line in rest]]
    columns = {**GRADED_RECIPE["columns"], "seen": {"kind": "date"}}
    table = {"fresh": {"column": "seen", "days": 28}}
    return graded_project(root, {"columns": columns, "table": table}, lines)


def with_reference(root: Path, sites: int) -> tuple[Recipe, RunPaths]:
    (root / "refs").mkdir(exist_ok=True)
    codes = [f"s{site}" for site in range(sites)]
    (root / "refs/sites.csv").write_text("\n".join(["code", *codes]) + "\n")
    return graded_project(root, {"table": SITES, "quarantine": {"max_share": 0.5}})


def test_table_of_too_few_rows_is_refused_and_the_page_shows_it(tmp_path: Path) -> None:
    recipe, paths = graded_project(tmp_path, {"table": {"rows": {"min": 1000}}})
    with pytest.raises(DataError) as error:
        validated(recipe, paths)
    expected = "table.csv is refused as a whole: 120 rows, and table.rows.min is 1,000: bring"
    assert str(error.value).startswith(expected)
    page = (paths / VALIDATION_REPORT).read_text(encoding="utf-8")
    assert "table.rows.min: 120 rows, and table.rows.min is 1,000: failed" in page
    # A run that is made again is not judged by it.
    assert validated(recipe, paths, judge_table=False).table == []


@pytest.mark.parametrize(
    ("rows", "previous", "passed"),
    [(60, 100, True), (50, 100, True), (49, 100, False), (1, None, True), (500, 100, True)],
)
def test_drop_of_the_rows_is_measured_against_the_last_judged_run(
    tmp_path: Path, rows: int, previous: int | None, passed: bool
) -> None:
    recipe, _ = graded_project(tmp_path, {"table": {"rows": {"max_drop": 0.5}}})
    (check,) = check_table(recipe, report(rows), judged(previous), NOW)
    assert check.passed == passed
    if not passed:
        assert check.message == "49 rows after 100 in run run-1, and table.rows.max_drop is 0.5"


def test_newest_date_is_in_utc() -> None:
    dates = [datetime(2026, 1, 1, tzinfo=UTC), None, datetime(2026, 2, 1, 3, tzinfo=UTC)]
    table = pa.table({"born": pa.array(dates, pa.timestamp("us", "UTC"))})
    assert newest_of(table, "born") == datetime(2026, 2, 1, 3, tzinfo=UTC)
    assert newest_of(table.slice(1, 1), "born") is None


@pytest.mark.parametrize(
    ("newest", "passed", "message"),
    [
        ("2026-02-01T00:00:00+00:00", True, "28 days before the run, and table.fresh.days is 28"),
        ("2026-01-31T12:00:00+00:00", False, "29 days before the run, and table.fresh.days is 28"),
        (None, False, "no row has a seen"),
    ],
)
def test_newest_date_may_be_so_many_days_old(
    tmp_path: Path, newest: str | None, passed: bool, message: str
) -> None:
    recipe, _ = with_dates(tmp_path, "2026-02-01")
    (check,) = check_table(recipe, report(1, newest), None, NOW)
    assert check.passed == passed
    assert check.message.endswith(message)


def test_table_that_is_too_old_is_refused_when_it_is_unchanged_too(tmp_path: Path) -> None:
    recipe, paths = with_dates(tmp_path, "2026-02-01")
    assert validated(recipe, paths, now=NOW).newest == "2026-02-01T00:00:00+00:00"
    with pytest.raises(DataError, match=r"the newest seen is 2026-02-01T00:00:00\+00:00, 29 days"):
        validated(recipe, paths, now=NOW + timedelta(days=1))
    options = RunOptions(now=NOW + timedelta(days=1))
    runner = PipelineRunner(recipe, paths, options)
    runner.record.source = read_record(paths / SOURCE, SourceInfo)
    with pytest.raises(DataError, match=r"table.csv is refused as a whole: the newest seen is"):
        runner._finish_unchanged(judged(120, "2026-02-01T00:00:00+00:00"))


def test_value_that_a_reference_table_lacks_quarantines_its_row(tmp_path: Path) -> None:
    recipe, paths = with_reference(tmp_path, sites=25)
    result = validated(recipe, paths)
    assert result.reasons == {"site: not in column code of refs/sites.csv": 20}


def test_changed_reference_table_is_another_data_version(tmp_path: Path) -> None:
    versions = []
    for sites in (25, 26):
        recipe, paths = with_reference(tmp_path, sites)
        source: SourceInfo = run_step("pull", recipe, paths)
        assert source.data_version.startswith(f"{source.version}+")
        versions.append(provenance.fingerprint(source.data_version, recipe.digest))
    assert versions[0] != versions[1]
    # One that changes behind a run's back is noticed.
    (tmp_path / "refs/sites.csv").write_text("code\ns1\n")
    with pytest.raises(DataError, match=r"refs/sites.csv changed while the run was reading it"):
        run_step("validate", recipe, paths)


def test_reference_table_that_cannot_be_read_is_answered(tmp_path: Path) -> None:
    recipe, paths = with_reference(tmp_path, sites=25)
    (tmp_path / "refs/sites.csv").unlink()
    with pytest.raises(
        DataError, match=r"table.reference: refs/sites.csv is no file in the project"
    ):
        run_step("pull", recipe, paths)
    (tmp_path / "refs/sites.csv").write_text("name\ns1\n")
    with pytest.raises(
        DataError, match=r"table.reference.site: refs/sites.csv: missing column code"
    ):
        validated(recipe, paths)
    (tmp_path / "refs/sites.csv").write_text("code\nNA\n")
    with pytest.raises(DataError, match=r"refs/sites.csv has no text in column code: name another"):
        validated(recipe, paths)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"fresh": {"column": "weight", "days": 3}}, "table.fresh.column: 'weight' is no date under"),
        ({"rows": {"max_drop": 2}}, "table.rows.max_drop: is 2"),
        ({"reference": {"sit": SITES["reference"]["site"]}}, "'sit' is not under columns: did you mean 'site'?"),
        ({"unique": 3}, "table.unique: unknown key"),
    ],
)  # fmt: skip
def test_mistake_in_the_section_is_answered(
    tmp_path: Path, table: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        graded_project(tmp_path, {"table": table})
    assert message in str(error.value)


def test_small_recipe_needs_no_table_checks(tmp_path: Path) -> None:
    recipe, paths = graded_project(tmp_path)
    assert "table" not in GRADED_RECIPE
    assert validated(recipe, paths).accepted == len(graded_lines()) - 1
