"""Step validate: check every row against the contract, and quarantine those that break it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche import registry
from creche.data.pixel_store import detach_pixels
from creche.data.quarantine import example_of, malformed_table, most_frequent_first, with_files
from creche.data.split import class_indices
from creche.data.table_reader import TableReader
from creche.data.training_source import training_source
from creche.errors import DataError, QuarantineError
from creche.pipeline.reference_tables import ReferenceTables, check_references_unchanged
from creche.pipeline.row_validation import ValidatedBlock, unlabeled_reason, validated_blocks
from creche.pipeline.table_checks import check_table, newest_of, raise_failed
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
from creche.records import SourceInfo, TableCheck, ValidationReport
from creche.reporting.html_pages import validation_page

INPUTS = (SOURCE,)
OUTPUTS = (ACCEPTED, QUARANTINE, VALIDATION, VALIDATION_REPORT)
SHOWN_REASONS = 3  # in an error message

OnAccepted = Callable[[pa.Table], None]


@dataclass(frozen=True)
class RefusedRows:
    """The quarantined rows of a table, and the counts of all."""

    quarantine: pa.Table  # columns as they were read, plus `source`, `row`, `reasons`
    quarantined_as: dict[str, str]  # canonical name → column of the quarantine
    report: ValidationReport


@dataclass(frozen=True)
class ValidatedTable(RefusedRows):
    """The rows of a table, divided by the contract."""

    accepted: pa.Table  # canonical columns, plus `row`


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
        DataError: the file has changed since it was pulled, cannot be read under the contract, has
            no label at all, or fails a check of the table as a whole.
        QuarantineError: no row is accepted, or more than the recipe's share is quarantined; the
            files are written all the same.
    """
    source = read_record(paths / SOURCE, SourceInfo)
    path = paths.root / source.path
    if not is_unchanged(path, source.md5 or source.version, source.files):
        raise DataError(f"{source.path} changed while the run was reading it: start it again")
    check_references_unchanged(source, paths.root)
    refused = _write_accepted(path, source, recipe, paths)
    if judge_table:
        checks = _check_table(recipe, refused.report, paths, now or datetime.now(UTC))
        report = refused.report.model_copy(update={"table": checks})
        refused = replace(refused, report=report)
    with atomic_write(paths / QUARANTINE) as temporary:
        pq.write_table(refused.quarantine, temporary)
    write_record(paths / VALIDATION, refused.report)
    page = validation_page(recipe.name, refused.report, refused.quarantine)
    with atomic_write(paths / VALIDATION_REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    _check_labels(recipe, refused.report)
    _check_share(recipe, refused, paths / VALIDATION_REPORT)
    raise_failed(refused.report.source, refused.report.table)
    return refused.report


def _check_table(
    recipe: Recipe, report: ValidationReport, paths: RunPaths, now: datetime
) -> list[TableCheck]:
    last_judged = None
    if recipe.table.rows.max_drop is not None:
        last_judged = registry.last_judged_run(recipe.name, paths)
    return check_table(recipe, report, last_judged, now)


def _write_accepted(path: Path, source: SourceInfo, recipe: Recipe, paths: RunPaths) -> RefusedRows:
    """Validate a table and write its accepted rows, block by block."""
    with atomic_write(paths / ACCEPTED) as temporary:
        writers: list[pq.ParquetWriter] = []

        def write(accepted: pa.Table) -> None:
            for name in recipe.image_features:
                accepted = detach_pixels(accepted, name, paths)
            if not writers:
                # The first block states the types.
                writers.append(pq.ParquetWriter(temporary, accepted.schema))
            writers[0].write_table(accepted)

        references = ReferenceTables.read(recipe, paths.root)
        files = tuple(source.files)
        refused = _validate_blocks(path, source.path, recipe, files, references, write)
        writers[0].close()
    return refused


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
    accepted: list[pa.Table] = []
    references = ReferenceTables.read(recipe, root or Path())
    refused = _validate_blocks(path, name, recipe, files, references, accepted.append)
    return ValidatedTable(
        refused.quarantine, refused.quarantined_as, refused.report, pa.concat_tables(accepted)
    )


def _validate_blocks(
    path: Path,
    name: str,
    recipe: Recipe,
    files: tuple[str, ...],
    references: ReferenceTables,
    on_accepted: OnAccepted,
) -> RefusedRows:
    """Divide the rows of a table, and hand over the accepted ones block by block."""
    source = training_source(path, name, recipe.data.reading, files)
    reader = TableReader(source, recipe.contract())
    counts = _Counts(recipe)
    quarantine = []
    for block in validated_blocks(reader, source, recipe, references):
        counts.add(block)
        quarantine.append(block.quarantine)
        on_accepted(block.accepted)
    counts.reasons.update(reader.malformed.reasons)
    quarantine.append(malformed_table(reader.malformed, name))
    refused = with_files(_joined(quarantine), reader.reader)
    report = counts.report(reader, refused.num_rows)
    if not report.rows:
        raise DataError(f"{name} has a header but no rows")
    return RefusedRows(refused, reader.quarantined_as, report)


def _joined(parts: list[pa.Table]) -> pa.Table:
    """Return the quarantined rows of all blocks in the order of the file."""
    non_empty = [part for part in parts if part.num_rows]
    if not non_empty:
        return parts[0]
    joined = pa.concat_tables(non_empty, promote_options="permissive")
    rows = joined["row"].to_numpy()
    if (np.diff(rows) > 0).all():
        return joined
    return joined.sort_by("row")


class _Counts:
    """The counts of a validation, block by block."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.reasons: Counter[str] = Counter()
        self._accepted = 0
        self._unlabeled = 0
        self._newest: datetime | None = None
        self._by_class = np.zeros(len(recipe.classes), np.int64)

    def add(self, block: ValidatedBlock) -> None:
        self._accepted += block.accepted.num_rows
        self._unlabeled += block.unlabeled
        if self.recipe.table.fresh is not None:
            newest = newest_of(block.accepted, self.recipe.table.fresh.column)
            if newest is not None and (self._newest is None or newest > self._newest):
                self._newest = newest
        self.reasons.update(block.reasons)
        labels = class_indices(block.accepted[self.recipe.label], self.recipe.classes)
        self._by_class += np.bincount(labels, minlength=len(self.recipe.classes))

    def report(self, reader: TableReader, quarantined: int) -> ValidationReport:
        labeled = self._accepted + quarantined - self._unlabeled
        by_class = {}
        for name, rows in zip(self.recipe.classes, self._by_class.tolist(), strict=True):
            if rows:
                by_class[name] = rows
        return ValidationReport(
            source=reader.name,
            rows=self._accepted + quarantined,
            accepted=self._accepted,
            quarantined=quarantined,
            unlabeled=self._unlabeled,
            share_quarantined=(quarantined - self._unlabeled) / labeled if labeled else 0.0,
            reasons=most_frequent_first(self.reasons),
            renamed=reader.renamed,
            ignored=reader.ignored,
            classes=by_class,
            newest=self._newest.isoformat() if self._newest else None,
        )


def _check_labels(recipe: Recipe, report: ValidationReport) -> None:
    if report.unlabeled == report.rows:
        raise DataError(
            f"{report.source}: none of its {report.rows} rows has a label: fill in column "
            f"{recipe.label}, or state another column as label"
        )


def _check_share(recipe: Recipe, result: RefusedRows, page: Path) -> None:
    report = result.report
    files = result.quarantine["source"].unique().to_pylist()
    columns_by_source = dict.fromkeys([report.source, *files], result.quarantined_as)
    frequent = []
    reasons = dict(report.reasons)
    if report.accepted:
        # Rows without a label do not count.
        reasons.pop(unlabeled_reason(recipe.label), None)
    for reason, count in list(reasons.items())[:SHOWN_REASONS]:
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
            f"{report.source}: {report.quarantined - report.unlabeled} of "
            f"{report.rows - report.unlabeled} rows "
            f"({report.share_quarantined:.1%}) break the contract, more than the recipe allows "
            f"({limit:.1%}): {summary}; see {page}"
        )
