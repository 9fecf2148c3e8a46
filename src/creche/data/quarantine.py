"""The refused rows as they were read, each with its source, row number and reasons."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.data.batch import Batch, Violation
from creche.data.readers import FileReader, MalformedRows
from creche.errors import shortened

# What a quarantine adds to the columns of the input.
ORIGIN = pa.schema(
    [("source", pa.string()), ("row", pa.int64()), ("reasons", pa.list_(pa.string()))]
)
MALFORMED_LINE = "malformed_line"
EXAMPLE_LENGTH = 40  # characters of a cell that a message shows


class ReasonExample(NamedTuple):
    """A row that was refused for a reason."""

    place: str  # the row, and the file where there are several
    cell: str = ""  # that was refused; empty where it cannot be shown

    @property
    def for_message(self) -> str:
        """The cell with its place, to follow the reason; empty where there is no cell."""
        return f" ({self.place}: '{self.cell}')" if self.cell else ""


def reasons_by_row(violations: Sequence[Violation], count: int) -> pa.ListArray:
    """Return the reasons to refuse each of `count` rows; an empty list for an accepted one."""
    rows = [np.zeros(0, np.int64)]
    positions = [np.zeros(0, np.int64)]  # of the violation
    for position, violation in enumerate(violations):
        refused = np.flatnonzero(violation.mask)
        rows.append(refused)
        positions.append(np.full(len(refused), position))
    all_rows = np.concatenate(rows)
    # A stable sort keeps the order of the violations in each row.
    by_row = np.concatenate(positions)[np.argsort(all_rows, kind="stable")]
    reasons = pa.array([violation.reason for violation in violations], pa.string())
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:] = np.cumsum(np.bincount(all_rows, minlength=count))
    return pa.ListArray.from_arrays(pa.array(offsets), reasons.take(pa.array(by_row)))


def quarantine_table(batch: Batch, reasons: pa.ListArray, source: str) -> pa.Table:
    """Return the refused rows of a batch as they were read, plus `source`, `row` and `reasons`.

    Args:
        reasons: of each row of the batch.
        source: name of the file.
    """
    is_refused = pc.greater(pc.list_value_length(reasons), 0)
    refused = pa.Table.from_batches([batch.cells]).filter(is_refused)
    refused = refused.rename_columns(quarantine_names(refused.column_names))
    row_numbers = batch.row_numbers[np.asarray(is_refused)]
    return _with_origin(refused, source, row_numbers, reasons.filter(is_refused))


def malformed_table(malformed: MalformedRows, source: str) -> pa.Table:
    """Return the malformed rows, each as its line, since it cannot be divided into cells."""
    lines = pa.table({MALFORMED_LINE: pa.array(malformed.texts, pa.string())})
    reasons = pa.array([[reason] for reason in malformed.reasons], pa.list_(pa.string()))
    return _with_origin(lines, source, np.array(malformed.row_numbers, np.int64), reasons)


def with_files(quarantine: pa.Table, reader: FileReader) -> pa.Table:
    """Return refused rows with the file and the row number there in place of those of the table."""
    if reader.origins == [reader.source.name]:
        return quarantine
    files = []
    row_numbers = []
    for row in quarantine["row"].to_pylist():
        file, row_number = reader.origin(row)
        files.append(file)
        row_numbers.append(row_number)
    columns = {"source": files, "row": row_numbers}
    for name, values in columns.items():
        field = ORIGIN.field(name)
        position = quarantine.column_names.index(name)
        quarantine = quarantine.set_column(position, field, pa.array(values, field.type))
    return quarantine


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
    table: pa.Table, source: str, row_numbers: np.ndarray, reasons: pa.ListArray
) -> pa.Table:
    sources = pa.repeat(pa.scalar(source, pa.string()), table.num_rows)
    columns = (sources, pa.array(row_numbers, pa.int64()), reasons.cast(ORIGIN.types[2]))
    for field, values in zip(ORIGIN, columns, strict=True):
        table = table.append_column(field, values)
    return table


def example_of(
    reason: str, quarantine: pa.Table, columns_by_source: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the first cell that was refused for a reason, with its row, for a message; empty where
    none can be shown.

    Args:
        reason: as `reasons` has it.
        quarantine: refused rows.
        columns_by_source: name of the file → canonical name → its column in the quarantine.
    """
    has_several_files = len(columns_by_source) > 1
    example = find_example(reason, quarantine, columns_by_source, has_several_files)
    return "" if example is None else example.for_message


def find_example(
    reason: str,
    quarantine: pa.Table,
    columns_by_source: Mapping[str, Mapping[str, str]],
    names_file: bool,
) -> ReasonExample | None:
    """Return the first cell that was refused for a reason, or where none can be shown the first
    row; None where no row was refused for it.

    Args:
        reason: as `reasons` has it: the canonical column, and what is wrong with its cell.
        quarantine: refused rows.
        columns_by_source: name of the file → canonical name → its column in the quarantine.
        names_file: whether the place states the file.
    """
    column_by_source: dict[str, str] = {}
    for source, columns in columns_by_source.items():
        column = _column_of(reason, columns)
        if column is not None and column in quarantine.column_names:
            column_by_source[source] = column
    shown_columns = sorted(set(column_by_source.values()))
    refused = _refused_for(reason, quarantine.select([*ORIGIN.names, *shown_columns]))
    first_row = None
    for row in _rows_of(refused):
        place = f"row {row['row']}"
        if names_file:
            place = f"{row['source']}, {place}"
        column = column_by_source.get(row["source"])
        cell = row[column] if column is not None else None
        if isinstance(cell, str) and cell.strip():
            return ReasonExample(place, shortened(cell, EXAMPLE_LENGTH))
        if first_row is None:
            first_row = ReasonExample(place)
    return first_row


def _refused_for(reason: str, quarantine: pa.Table) -> pa.Table:
    """Return the rows of a quarantine that were refused for a reason."""
    reasons = quarantine["reasons"].combine_chunks()
    is_reason = pc.equal(pc.list_flatten(reasons), reason)
    positions = pc.list_parent_indices(reasons).filter(is_reason)
    return quarantine.take(positions)


def _rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield rows one by one, of which the first is mostly enough."""
    for start in range(table.num_rows):
        yield table.slice(start, 1).to_pylist()[0]


def _column_of(reason: str, columns: Mapping[str, str]) -> str | None:
    """Return the column of the quarantine whose cells were refused for a reason."""
    names = [name for name in columns if reason.startswith(f"{name}: ")]
    # A name may be the beginning of another one.
    return columns[max(names, key=len)] if names else None


def most_frequent_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return reason → rows, the most frequent reason first, then by its text."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
