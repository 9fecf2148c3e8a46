"""The refused rows as they were read, each with its source, row number and reasons."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from creche.data.batch import Batch, Violation
from creche.data.readers import MalformedRows
from creche.errors import shortened

# What a quarantine adds to the columns of the input.
ORIGIN = pa.schema(
    [("source", pa.string()), ("row", pa.int64()), ("reasons", pa.list_(pa.string()))]
)
MALFORMED_LINE = "malformed_line"
EXAMPLE_LENGTH = 40  # characters of a cell that a message shows


def reasons_by_row(violations: Iterable[Violation], count: int) -> list[list[str]]:
    """Return the reasons to refuse each of `count` rows; an empty list for an accepted one."""
    reasons: list[list[str]] = [[] for _ in range(count)]
    for violation in violations:
        for row in np.flatnonzero(violation.mask):
            reasons[row].append(violation.reason)
    return reasons


def quarantine_table(batch: Batch, reasons: Sequence[list[str]], source: str) -> pa.Table:
    """Return the refused rows of a batch as they were read, plus `source`, `row` and `reasons`.

    Args:
        reasons: of each row of the batch.
        source: name of the file.
    """
    is_refused = np.array([len(row_reasons) > 0 for row_reasons in reasons], bool)
    refused = pa.Table.from_batches([batch.cells]).filter(pa.array(is_refused))
    refused = refused.rename_columns(quarantine_names(refused.column_names))
    refused_reasons = [row_reasons for row_reasons in reasons if row_reasons]
    return _with_origin(refused, source, batch.row_numbers[is_refused], refused_reasons)


def malformed_table(malformed: MalformedRows, source: str) -> pa.Table:
    """Return the malformed rows, each as its line, since it cannot be divided into cells."""
    lines = pa.table({MALFORMED_LINE: pa.array(malformed.texts, pa.string())})
    reasons = [[reason] for reason in malformed.reasons]
    return _with_origin(lines, source, np.array(malformed.row_numbers), reasons)


def quarantine_names(header: Sequence[str]) -> list[str]:
    """Return the names of the input's columns in a quarantine, which reserves some for itself."""
    reserved = {*ORIGIN.names, MALFORMED_LINE}
    taken = {*header, *reserved}
    names = []
    for column in header:
        name = column
        while name in reserved or (name != column and name in taken):
            name += "_input"
        taken.add(name)
        names.append(name)
    return names


def _with_origin(
    table: pa.Table, source: str, row_numbers: np.ndarray, reasons: list[list[str]]
) -> pa.Table:
    sources = [source] * table.num_rows
    for field, values in zip(ORIGIN, (sources, row_numbers, reasons), strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table


def example_of(
    reason: str, quarantine: pa.Table, columns_by_source: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the first cell that was refused for a reason, with its row, for a message; empty where
    none can be shown.

    Args:
        reason: as `reasons` has it: the canonical column, and what is wrong with its cell.
        columns_by_source: name of the file → canonical name → its column in the quarantine.
    """
    column_by_source: dict[str, str] = {}
    for source, columns in columns_by_source.items():
        column = _column_of(reason, columns)
        if column is not None and column in quarantine.column_names:
            column_by_source[source] = column
    shown_columns = sorted(set(column_by_source.values()))
    for row in quarantine.select([*ORIGIN.names, *shown_columns]).to_pylist():
        column = column_by_source.get(row["source"])
        if column is None or reason not in row["reasons"]:
            continue
        cell = row[column]
        if isinstance(cell, str) and cell.strip():
            return f" (row {row['row']}: '{shortened(cell, EXAMPLE_LENGTH)}')"
    return ""


def _column_of(reason: str, columns: Mapping[str, str]) -> str | None:
    """Return the column of the quarantine whose cells were refused for a reason."""
    names = [name for name in columns if reason.startswith(f"{name}: ")]
    # A name may be the beginning of another one.
    return columns[max(names, key=len)] if names else None


def most_frequent_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return reason → rows, the most frequent reason first, then by its text."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
