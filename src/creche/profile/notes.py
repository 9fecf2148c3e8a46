"""What a person should know of a table before a model is trained on it."""

from collections.abc import Iterator
from dataclasses import replace

from creche.contract.reading import Reading
from creche.errors import listed
from creche.profile.column_keys import percent
from creche.profile.plan import TableProfile

SHOWN_CLASSES = 10


def with_notes(profile: TableProfile, reading: Reading) -> TableProfile:
    """Return a profile with its notes, and the share of its rows that will be quarantined."""
    notes = tuple(_notes(profile, reading))
    return replace(profile, notes=notes, quarantined_share=_quarantined_share(profile))


def _quarantined_share(profile: TableProfile) -> float:
    """Return about which fraction of the rows the contract will refuse, 0..1."""
    rows = max(profile.sample.rows, 1)
    refused = profile.sample.malformed_rows
    sample_rows = max(profile.sample.table.num_rows, 1)
    left_out_classes = sum(count for _, count in profile.label.left_out)
    share: float = refused / rows + left_out_classes / sample_rows
    for column in profile.columns:
        if column.role == "left out":
            continue
        share += column.counts.bad / rows
        if column.role in ("group", "time"):
            share += column.counts.missing_share
    return float(min(share, 1.0))


def _notes(profile: TableProfile, reading: Reading) -> Iterator[str]:
    sample, label = profile.sample, profile.label
    if reading.csv.header == "none":
        yield (
            "the file has no header, so its columns are named by position: state other names under "
            "data.csv.names, and the same ones below"
        )
    if reading.csv.encoding:
        yield f"the file is no UTF-8, and is read as {reading.csv.encoding}: check its letters"
    if not sample.is_complete:
        yield (
            f"kinds are from {sample.table.num_rows:,} rows, evenly spread; limits, values and "
            "missing cells are from all rows"
        )
    if sample.malformed_rows:
        yield f"rows with more or fewer cells than the header: {sample.malformed_rows:,}"
    if profile.label_missing:
        share = percent(profile.label_missing / max(sample.table.num_rows, 1))
        stated = ", ".join(label.column.stated_spellings)
        spelled = f" (it is empty, or {stated})" if stated else ""
        yield f"{share} of the rows have no label{spelled}, and are left out of training"
    for column in profile.columns:
        if column.role in ("group", "time") and column.counts.missing_share:
            yield (
                f"{percent(column.counts.missing_share)} of the rows have no {column.name}, by "
                "which the table is split, and are quarantined"
            )
    if label.left_out:
        shown = listed((f"{value} ({rows})" for value, rows in label.left_out), SHOWN_CLASSES)
        yield (
            f"{shown}: too few rows to train on some and be judged by others, so it is no class "
            "here, and such rows are quarantined"
        )
    if profile.duplicate_rows and not profile.group:
        share = percent(profile.duplicate_rows / max(sample.table.num_rows, 1))
        yield (
            f"{share} of the rows repeat an earlier one; equal rows are always on one side of the "
            "split"
        )
    if profile.group_reason and profile.group and not profile.options.group:
        yield f"rows are grouped by {', '.join(profile.group)}, {profile.group_reason}"
