"""Which columns are no features, and why."""

from collections.abc import Mapping

from creche.profile.inferred_column import InferredColumn
from creche.profile.label import Label
from creche.profile.plan import ProfileOptions
from creche.profile.relations import (
    duplicates,
    id_reason,
    is_one_to_one,
    is_unique_and_whole,
)
from creche.recipe.data import NUMBERED_COLUMN

FEWEST_PRESENT = 10  # rows with a value, below which a column says nothing
FREE_TEXT = "free text: {distinct:,} distinct values in {rows:,} rows"
ROW_NAMES = "row names: the header does not name it, and every value is another one"
Names = Mapping[str, tuple[str, tuple[str, ...]]]


def reasons_by_column(
    inferred: Mapping[str, InferredColumn], names: Names, label: Label, options: ProfileOptions
) -> dict[str, str]:
    """Return header name → why the column is no feature, for those that are none."""
    reasons = {}
    unnamed = _unnamed(inferred)
    for name, column in inferred.items():
        if name == options.label:
            continue
        reason = _own_reason(column, names)
        if reason is None and name in unnamed and is_unique_and_whole(column):
            reason = ROW_NAMES
        if name in options.keep and not _cannot_be_feature(column, names):
            reason = None
        if reason:
            reasons[name] = reason
    candidates = [
        column for name, column in inferred.items() if name not in reasons and name != options.label
    ]
    for column in candidates:
        is_kept = column.header_name in options.keep
        if not is_kept and is_one_to_one(column, label.column):
            reasons[column.header_name] = "leaks the label: one-to-one with it"
    candidates = [column for column in candidates if column.header_name not in reasons]
    for name, reason in duplicates(candidates).items():
        if name not in options.keep:
            reasons[name] = reason
    if options.time in inferred and options.time not in options.keep:
        reasons[str(options.time)] = "the time by which the table is split"
    return reasons


def _unnamed(inferred: Mapping[str, InferredColumn]) -> set[str]:
    """Return the columns that the header does not name, as those of row names; none where the table
    has no header.
    """
    unnamed = {name for name in inferred if NUMBERED_COLUMN.fullmatch(name)}
    return unnamed if len(unnamed) < len(inferred) else set()


def _own_reason(column: InferredColumn, names: Names) -> str | None:
    """Return why a column by itself is no feature."""
    unusable = _cannot_be_feature(column, names)
    if unusable:
        return unusable
    present = column.rows - column.missing_rows
    if column.distinct_count < 2 and not column.missing_rows:
        return "constant: every row has the same value"
    if present < FEWEST_PRESENT:
        return f"hardly any values: {present} in {column.rows:,} rows"
    reason = id_reason(column)
    if reason:
        return reason
    if column.kind == "text":
        return FREE_TEXT.format(distinct=column.distinct_count, rows=present)
    return None


def _cannot_be_feature(column: InferredColumn, names: Names) -> str | None:
    """Return why a column can be no feature, whatever is asked for."""
    if column.header_name not in names:
        return "its name has neither letter nor digit: rename it"
    if column.kind == "nested":
        return "lists or structs: write what matters into columns of their own"
    if column.kind == "bytes":
        return "bytes, and no text"
    if column.kind == "empty":
        return "no value in any row"
    return None
