"""The checks of a table as a whole: how many rows it has, and how old it is."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from creche.errors import DataError
from creche.recipe import Recipe
from creche.records import TableCheck, ValidationReport
from creche.registry import JudgedRun


def check_table(
    recipe: Recipe, report: ValidationReport, last_judged: JudgedRun | None, now: datetime
) -> list[TableCheck]:
    """Return the checks of the table that the recipe asks for.

    Args:
        report: of the table's rows.
        last_judged: the run whose number of rows is compared; None: there is none.
        now: the time of the run.
    """
    checks = []
    least = recipe.table.rows.min
    if least is not None:
        message = f"{report.rows:,} rows, and table.rows.min is {least:,}"
        checks.append(
            TableCheck(name="table.rows.min", passed=report.rows >= least, message=message)
        )
    drop = _check_drop(recipe, report, last_judged)
    if drop is not None:
        checks.append(drop)
    if recipe.table.fresh is not None:
        checks.append(check_freshness(recipe, report.newest, now))
    return checks


def _check_drop(
    recipe: Recipe, report: ValidationReport, last_judged: JudgedRun | None
) -> TableCheck | None:
    max_drop = recipe.table.rows.max_drop
    if max_drop is None:
        return None
    name = "table.rows.max_drop"
    if last_judged is None or not last_judged.rows:
        return TableCheck(name=name, passed=True, message="no judged run to compare with")
    drop = 1 - report.rows / last_judged.rows
    message = (
        f"{report.rows:,} rows after {last_judged.rows:,} in run {last_judged.run_id}, and {name} "
        f"is {max_drop:g}"
    )
    return TableCheck(name=name, passed=drop <= max_drop, message=message)


def check_freshness(recipe: Recipe, newest: str | None, now: datetime) -> TableCheck:
    """Return whether the newest date is not too old.

    Args:
        newest: ISO, UTC; None: there is no date.
        now: the time of the run.
    """
    fresh = recipe.table.fresh
    assert fresh is not None
    name = "table.fresh.days"
    if newest is None:
        return TableCheck(name=name, passed=False, message=f"no row has a {fresh.column}")
    days = (now - datetime.fromisoformat(newest)).days
    message = (
        f"the newest {fresh.column} is {newest}, {days:,} days before the run, and {name} is "
        f"{fresh.days:,}"
    )
    return TableCheck(name=name, passed=days <= fresh.days, message=message)


def raise_failed(source: str, checks: list[TableCheck]) -> None:
    """Raise an error where a check failed.

    Raises:
        DataError: with every failed check.
    """
    failed = [check.message for check in checks if not check.passed]
    if failed:
        raise DataError(
            f"{source} is refused as a whole: {'; '.join(failed)}: bring the data that are "
            "missing, or change that key of the recipe"
        )


def newest_of(accepted: pa.Table, column: str) -> datetime | None:
    """Return the newest date of some accepted rows, UTC; None: no row has one."""
    newest: datetime | None = pc.max(accepted[column]).as_py()
    if newest is None:
        return None
    return newest.replace(tzinfo=UTC) if newest.tzinfo is None else newest.astimezone(UTC)
