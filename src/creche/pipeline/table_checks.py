"""The checks of a table as a whole: how many rows it has, how old it is, and its reference tables.

Rows with a value that a reference table lacks are quarantined; the other checks refuse the table.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Column, Contract
from creche.data.batch import Batch, Violation
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError
from creche.provenance import md5_of
from creche.recipe import Recipe, Reference
from creche.records import SourceInfo, TableCheck, ValidationReport
from creche.registry import JudgedRun

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def newest_date(accepted: pa.Table, column: str) -> str | None:
    """Return the newest date of the accepted rows, ISO, UTC; None: no row has one."""
    newest = pc.max(accepted[column]).as_py()
    if newest is None:
        return None
    if not isinstance(newest, datetime):
        newest = EPOCH + timedelta(seconds=newest)
    if newest.tzinfo is None:
        newest = newest.replace(tzinfo=UTC)
    iso: str = newest.astimezone(UTC).isoformat()
    return iso


def check_references_unchanged(source: SourceInfo, root: Path) -> None:
    """Check that the reference tables are those that were pulled.

    Raises:
        DataError: one is not.
    """
    for file, md5 in source.references.items():
        path = root / file
        if not path.is_file() or md5_of(path) != md5:
            raise DataError(f"{file} changed while the run was reading it: start it again")


def rows_without_reference(batch: Batch, recipe: Recipe, root: Path) -> list[Violation]:
    """Return the rows with a value that is not in the reference table of its column.

    Args:
        root: that the files of the references are relative to.
    """
    violations = []
    for name, reference in recipe.table.reference.items():
        if name not in batch.values:
            continue
        values = batch.values[name]
        if pa.types.is_dictionary(values.type):
            values = values.cast(pa.string())
        allowed = _reference_values(recipe.columns[name], name, reference, root)
        is_absent = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, allowed)))
        reason = f"{name}: not in column {reference.column} of {reference.file}"
        violations.append(Violation(name, reason, np.asarray(is_absent)))
    return violations


def _reference_values(column: Column, name: str, reference: Reference, root: Path) -> pa.Array:
    """Return the values of a reference table, spelled as those of the column are."""
    own_column = Column(
        kind=column.kind,
        required=True,
        missing_values=column.missing_values,
        decimal_mark=column.decimal_mark,
    )
    source = TableSource.local(root / reference.file, reference.file)
    try:
        reader = TableReader(source, Contract({reference.column: own_column}))
    except ContractError as error:
        raise ContractError(f"table.reference.{name}: {error}") from None
    values = reader.read_all().values[reference.column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    distinct = pc.drop_null(pc.unique(values))
    if not len(distinct):
        raise DataError(
            f"table.reference.{name}: {reference.file} has no {column.kind} in column "
            f"{reference.column}: name another column, or remove this key"
        )
    return distinct
