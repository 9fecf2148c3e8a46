"""Hold the observations to the contract, row by row, with Great Expectations; quarantine what breaks it."""

import hashlib
import logging
import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.contract import Contract, Rule
from creche.data import images
from creche.data.sources import TableSource
from creche.data.tables import (
    Batch,
    TableReader,
    Violation,
    quarantine_table,
    ragged_table,
    reasons_by_row,
)
from creche.errors import DataError, QuarantineError
from creche.project import (
    ACCEPTED,
    QUARANTINE,
    SOURCE,
    VALIDATION,
    VALIDATION_REPORT,
    ProjectPaths,
    atomic_write,
    read_json,
    write_json,
)
from creche.provenance import unchanged
from creche.recipe import Recipe
from creche.reporting import report

if TYPE_CHECKING:
    import great_expectations as gx

READS = (SOURCE,)
WRITES = (ACCEPTED, QUARANTINE, VALIDATION, VALIDATION_REPORT)
SPREAD = ": spread of its shades"


@dataclass(frozen=True)
class ValidatedTable:
    accepted: pa.Table  # canonical columns, plus `row`
    quarantine: pa.Table  # columns as they came, plus `source`, `row`, `reasons`
    summary: dict[str, Any]


def run(recipe: Recipe, paths: ProjectPaths) -> dict[str, Any]:
    """Write accepted and quarantined rows, the counts, and a report for a person.

    Raises:
        QuarantineError: no row is accepted, or more than the recipe's share is quarantined; the files are there all the same.
    """
    source = read_json(paths / SOURCE)
    path = paths.root / source["path"]
    if not unchanged(path, source):
        raise DataError(f"{source['path']} changed while the run was reading it: start it again")
    result = validate(path, source["path"], recipe, tuple(source.get("files", ())))
    accepted = result.accepted
    for image in (n for n in recipe.features if recipe.columns[n].kind == "image"):
        accepted = images.detach(accepted, image, paths)
    for name, table in ((ACCEPTED, accepted), (QUARANTINE, result.quarantine)):
        with atomic_write(paths / name) as part:
            pq.write_table(table, part)
    write_json(paths / VALIDATION, result.summary)
    with atomic_write(paths / VALIDATION_REPORT) as part:
        part.write_text(
            report.validation_page(recipe.name, result.summary, result.quarantine), encoding="utf-8"
        )
    _refuse(recipe, result.summary, paths / VALIDATION_REPORT)
    return result.summary


def validate(path: Path, name: str, recipe: Recipe, files: tuple[str, ...] = ()) -> ValidatedTable:
    """Read a table under the recipe's contract and part its rows.

    Args:
        files: of a folder, that are read alone; all of its kind if none are named.

    Raises:
        ContractError, DataError: the file as a whole cannot be read under the contract.
    """
    found = TableSource.local(path, name)
    table = TableReader(
        replace(found, files=tuple(sorted(files))) if files and found.together else found,
        recipe.contract(),
    )
    batch = table.whole()
    total = len(batch.rows) + len(table.ragged.rows)
    if not total:
        raise DataError(f"{name} has a header but no rows")
    failures = expectation_failures(_frame(batch, table.contract), table.contract, recipe.unique)
    reasons = reasons_by_row(batch.merge([*failures, *_straddling(batch, recipe)]), len(batch.rows))
    good = pa.array([not r for r in reasons], pa.bool_())
    accepted = pa.table({"row": pa.array(batch.rows), **batch.values}).filter(good)
    parts = [quarantine_table(batch, reasons, name), ragged_table(table.ragged, name)]
    quarantine = pa.concat_tables(
        [p for p in parts if p.num_rows] or parts[:1], promote_options="permissive"
    )
    counts = Counter(r for row in [*reasons, *([r] for r in table.ragged.reasons)] for r in row)
    summary = {
        "source": name,
        "rows": total,
        "accepted": accepted.num_rows,
        "quarantined": quarantine.num_rows,
        "share_quarantined": quarantine.num_rows / total,
        "reasons": dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))),
        "renamed": table.renamed,
        "ignored": table.unknown,
        "classes": _counts(accepted, recipe.label),
    }
    return ValidatedTable(accepted, quarantine.sort_by("row"), summary)


def _frame(batch: Batch, contract: Contract) -> pd.DataFrame:
    """What Great Expectations sees. Of a picture: the SHA-256 of its pixels, and how far its shades lie apart."""
    seen: dict[str, Any] = {}
    for name, values in batch.values.items():
        if contract.columns[name].kind != "image":
            seen[name] = values.to_pandas()
            continue
        seen[name] = pd.Series(
            [hashlib.sha256(v).hexdigest() if v else None for v in values.to_pylist()], dtype="str"
        )
        seen[name + SPREAD] = images.spread(values, contract.columns[name].shape[2])
    return pd.DataFrame(seen)


def _straddling(batch: Batch, recipe: Recipe) -> list[Violation]:
    """Rows outside a holdout that was set apart, of a group that has a row in it: what is judged must not be learned."""
    if not recipe.split.apart:
        return []
    column, value = recipe.split.apart
    names = recipe.group or tuple(recipe.features)
    keys = list(zip(*(batch.values[n].to_pylist() for n in names), strict=True))
    held = np.asarray(pc.fill_null(pc.equal(batch.values[column], value), False))
    inside = {key for key, is_held in zip(keys, held, strict=True) if is_held}
    mask = np.array([key in inside and None not in key for key in keys], bool) & ~held
    return [(names[0], f"{', '.join(names)}: stands in the holdout too", mask)]


def _counts(accepted: pa.Table, label: str) -> dict[str, int]:
    return {str(v["values"]): v["counts"] for v in accepted[label].value_counts().to_pylist()}


def _refuse(recipe: Recipe, summary: dict[str, Any], page: Path) -> None:
    commonest = "; ".join(f"{n} × {reason}" for reason, n in list(summary["reasons"].items())[:3])
    share, limit = summary["share_quarantined"], recipe.quarantine.max_share
    if not summary["accepted"]:
        raise QuarantineError(
            f"{summary['source']}: not one of its {summary['rows']} rows is sound ({commonest}); see {page}"
        )
    if share > limit:
        raise QuarantineError(
            f"{summary['source']}: {summary['quarantined']} of {summary['rows']} rows ({share:.1%}) break the contract, "
            f"more than the recipe allows ({limit:.1%}): {commonest}; see {page}"
        )


def _great_expectations() -> Any:
    """The library, quiet, and kept from Spark Connect.

    It imports that where pyspark is installed; pyspark then warns of pandas 3, and where grpc is absent it takes a
    `python -c` for its own doctests and ends it with exit code 0.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    hidden = sys.modules.setdefault("pyspark.sql.connect", None) is None  # type: ignore[arg-type]
    try:
        import great_expectations as gx
    finally:
        if hidden:
            del sys.modules["pyspark.sql.connect"]
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return gx


def suite(contract: Contract, unique: tuple[str, ...] = ()) -> "gx.ExpectationSuite":
    """The contract as a Great Expectations suite; each expectation's meta carries the reason that its failure is."""
    gx = _great_expectations()
    expectations: list[Any] = [_expectation(rule) for rule in contract.rules()]
    meta = {"reason": f"{', '.join(unique)}: not unique", "column": unique[-1] if unique else None}
    if len(unique) == 1:
        expectations.append(
            gx.expectations.ExpectColumnValuesToBeUnique(column=unique[0], meta=meta)
        )
    elif unique:
        compound = gx.expectations.ExpectCompoundColumnsToBeUnique
        expectations.append(
            compound(column_list=list(unique), ignore_row_if="any_value_is_missing", meta=meta)
        )
    return gx.ExpectationSuite(name="contract", expectations=expectations)


def _expectation(rule: Rule) -> Any:
    import great_expectations.expectations as e

    meta = {"reason": rule.reason, "column": rule.column}
    match rule.kind:
        case "missing":
            return e.ExpectColumnValuesToNotBeNull(column=rule.column, meta=meta)
        case "below":
            return e.ExpectColumnValuesToBeBetween(
                column=rule.column, min_value=rule.bound, meta=meta
            )
        case "above":
            return e.ExpectColumnValuesToBeBetween(
                column=rule.column, max_value=rule.bound, meta=meta
            )
        case "blank":
            return e.ExpectColumnValuesToBeBetween(
                column=rule.column + SPREAD, min_value=1, meta=meta
            )
    return e.ExpectColumnValuesToBeInSet(column=rule.column, value_set=list(rule.bound), meta=meta)  # type: ignore[arg-type]


def expectation_failures(
    frame: pd.DataFrame, contract: Contract, unique: tuple[str, ...] = ()
) -> list[Violation]:
    """Every expectation that fails, with the mask of its rows.

    One context a call: contexts shared between threads mix up their results.

    Raises:
        DataError: an expectation could not be evaluated.
    """
    gx = _great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = context.data_sources.pandas_default.read_dataframe(frame.reset_index(drop=True))
    results = batch.validate(suite(contract, unique), result_format={"result_format": "COMPLETE"})
    found = []
    for result in results.results:
        if result.success:
            continue
        meta = result.expectation_config.meta
        positions = result.result.get("unexpected_index_list")
        if positions is None:
            raise DataError(
                f"Great Expectations could not judge '{meta['reason']}': {result.exception_info}"
            )
        mask = np.zeros(len(frame), bool)
        mask[positions] = True
        found.append((meta["column"], meta["reason"], mask))
    return found
