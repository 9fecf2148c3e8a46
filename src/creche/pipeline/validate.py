"""Step validate: check every row against the contract, and quarantine those that break it."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche import registry
from creche.data.batch import Batch, Violation
from creche.data.expectations import as_frame, validate_frame
from creche.data.pixel_store import detach_pixels
from creche.data.quarantine import (
    example_of,
    malformed_table,
    most_frequent_first,
    quarantine_table,
    reasons_by_row,
)
from creche.data.row_keys import hash_rows
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError, QuarantineError, listed
from creche.pipeline import table_checks
from creche.project import (
    ACCEPTED,
    QUARANTINE,
    SOURCE,
    VALIDATION,
    VALIDATION_REPORT,
    RunPaths,
    atomic_write,
    read_record,
    write_record,
)
from creche.provenance import is_unchanged
from creche.recipe import Recipe
from creche.records import SourceInfo, ValidationReport
from creche.reporting.html_pages import validation_page

INPUTS = (SOURCE,)
OUTPUTS = (ACCEPTED, QUARANTINE, VALIDATION, VALIDATION_REPORT)
SHOWN_REASONS = 3  # in an error message


@dataclass(frozen=True)
class ValidatedTable:
    """The rows of a table, divided by the contract."""

    accepted: pa.Table  # canonical columns, plus `row`
    quarantine: pa.Table  # columns as they were read, plus `source`, `row`, `reasons`
    quarantined_as: dict[str, str]  # canonical name → column of the quarantine
    report: ValidationReport


def run(
    recipe: Recipe, paths: RunPaths, judge_table: bool = True, now: datetime | None = None
) -> ValidationReport:
    """Write accepted and quarantined rows, the counts, and a report for a person.

    Args:
        recipe: states contract, rules and checks.
        paths: the files of the run.
        judge_table: whether the table as a whole may be refused; a run that is made again is not.
        now: the time of the run, by default that of this call.

    Raises:
        DataError: the file has changed since it was pulled, cannot be read under the contract, or
            the table as a whole fails a check.
        QuarantineError: no row is accepted, or more than the recipe's share is quarantined; the
            files are written all the same.
    """
    source = read_record(paths / SOURCE, SourceInfo)
    path = paths.root / source.path
    if not is_unchanged(path, source.version, source.files):
        raise DataError(f"{source.path} changed while the run was reading it: start it again")
    table_checks.check_references_unchanged(source, paths.root)
    result = validate(path, source.path, recipe, tuple(source.files), paths.root)
    if judge_table:
        result = _judge_table(recipe, paths, result, now or datetime.now(UTC))
    accepted = result.accepted
    for name in recipe.image_features:
        accepted = detach_pixels(accepted, name, paths)
    for file_name, table in ((ACCEPTED, accepted), (QUARANTINE, result.quarantine)):
        with atomic_write(paths / file_name) as temporary:
            pq.write_table(table, temporary)
    write_record(paths / VALIDATION, result.report)
    page = validation_page(recipe.name, result.report, result.quarantine)
    with atomic_write(paths / VALIDATION_REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    _check_share(recipe, result, paths / VALIDATION_REPORT)
    table_checks.raise_failed(result.report.source, result.report.table)
    return result.report


def _judge_table(
    recipe: Recipe, paths: RunPaths, result: ValidatedTable, now: datetime
) -> ValidatedTable:
    """Return the table with the checks of it as a whole in its report."""
    report = result.report
    if recipe.table.fresh is not None:
        newest = table_checks.newest_date(result.accepted, recipe.table.fresh.column)
        report = report.model_copy(update={"newest": newest})
    last_judged = None
    if recipe.table.rows.max_drop is not None:
        last_judged = registry.last_judged_run(recipe.name, paths)
    checks = table_checks.check_table(recipe, report, last_judged, now)
    return replace(result, report=report.model_copy(update={"table": checks}))


def validate(
    path: Path,
    name: str,
    recipe: Recipe,
    files: tuple[str, ...] = (),
    root: Path | None = None,
) -> ValidatedTable:
    """Read a table under the recipe's contract, and divide its rows into accepted and quarantined.

    Args:
        name: of the source in the report.
        files: the only files of a folder to read; by default all.
        root: that the recipe's reference tables are relative to; by default the working directory.

    Raises:
        ContractError, DataError: the file as a whole cannot be read under the contract.
    """
    source = TableSource.local(path, name, recipe.data.reading)
    if files and source.collection:
        stated = set(files)
        source = replace(source, files=tuple(file for file in source.files if file in stated))
    reader = TableReader(source, recipe.contract())
    batch = reader.read_all()
    total = len(batch.row_numbers) + len(reader.malformed.row_numbers)
    if not total:
        raise DataError(f"{name} has a header but no rows")
    reasons = _reasons(batch, reader, recipe, root or Path())
    is_accepted = pa.array([not row_reasons for row_reasons in reasons], pa.bool_())
    accepted = pa.table({"row": pa.array(batch.row_numbers), **batch.values}).filter(is_accepted)
    quarantine = _quarantine(batch, reader, reasons, name)
    counts: Counter[str] = Counter(reader.malformed.reasons)
    for row_reasons in reasons:
        counts.update(row_reasons)
    report = ValidationReport(
        source=name,
        rows=total,
        accepted=accepted.num_rows,
        quarantined=quarantine.num_rows,
        share_quarantined=quarantine.num_rows / total,
        reasons=most_frequent_first(counts),
        renamed=reader.renamed,
        ignored=reader.ignored,
        classes=_counts_by_class(accepted, recipe.label),
    )
    return ValidatedTable(accepted, quarantine, reader.quarantined_as, report)


def _reasons(batch: Batch, reader: TableReader, recipe: Recipe, root: Path) -> list[list[str]]:
    """Return the reasons to refuse each row; an empty list for an accepted one."""
    frame = as_frame(batch, reader.contract)
    violations = validate_frame(frame, reader.contract, recipe.unique)
    violations += _rows_of_holdout_groups(batch, recipe)
    violations += table_checks.rows_without_reference(batch, recipe, root)
    return reasons_by_row(batch.merge(violations), len(batch.row_numbers))


def _quarantine(batch: Batch, reader: TableReader, reasons: list[list[str]], name: str) -> pa.Table:
    refused = quarantine_table(batch, reasons, name)
    malformed = malformed_table(reader.malformed, name)
    parts = [part for part in (refused, malformed) if part.num_rows]
    if not parts:
        return refused
    return pa.concat_tables(parts, promote_options="permissive").sort_by("row")


def _rows_of_holdout_groups(batch: Batch, recipe: Recipe) -> list[Violation]:
    """Return the rows outside a designated holdout whose group has a row in it.

    The model must not be trained on groups that it is judged on.
    """
    designated = recipe.split.designated_holdout
    if designated is None:
        return []
    column, value = designated
    names = recipe.group or tuple(recipe.features)
    columns = [batch.values[name] for name in names]
    hashes = hash_rows(columns, recipe.split.seed)
    is_holdout = np.asarray(pc.fill_null(pc.equal(batch.values[column], value), False))
    # Keys with a missing value identify no group.
    is_complete = np.logical_and.reduce([np.asarray(cells.is_valid()) for cells in columns])
    in_holdout_group = np.isin(hashes, hashes[is_holdout & is_complete]) & is_complete
    mask = in_holdout_group & ~is_holdout
    return [Violation(names[0], f"{listed(names)}: is in the holdout too", mask)]


def _counts_by_class(accepted: pa.Table, label: str) -> dict[str, int]:
    counts = {}
    for entry in accepted[label].value_counts().to_pylist():
        counts[str(entry["values"])] = entry["counts"]
    return counts


def _check_share(recipe: Recipe, result: ValidatedTable, page: Path) -> None:
    report = result.report
    columns_by_source = {report.source: result.quarantined_as}
    frequent = []
    for reason, count in list(report.reasons.items())[:SHOWN_REASONS]:
        example = example_of(reason, result.quarantine, columns_by_source)
        frequent.append(f"{count} × {reason}{example}")
    summary = "; ".join(frequent)
    if not report.accepted:
        raise QuarantineError(
            f"{report.source}: none of its {report.rows} rows keeps the contract ({summary}); see "
            f"{page}"
        )
    limit = recipe.quarantine.max_share
    if report.share_quarantined > limit:
        raise QuarantineError(
            f"{report.source}: {report.quarantined} of {report.rows} rows "
            f"({report.share_quarantined:.1%}) break the contract, more than the recipe allows "
            f"({limit:.1%}): {summary}; see {page}"
        )
