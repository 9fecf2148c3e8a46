"""Which rows belong together, and which period a split forward in time holds out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from creche.data.time_periods import period_numbers
from creche.profile.distinct import MISSING_CODE
from creche.profile.inferred_column import InferredColumn
from creche.profile.label import Label
from creche.profile.plan import DateRange, ProfileOptions
from creche.profile.relations import has_id_name

FEWEST_GROUPS = 20
FEWEST_ROWS_PER_GROUP = 1.5  # on average
LEAST_SAME_LABEL = 0.9  # of the groups, whose rows have one label
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
PERIODS = (("year", 365.25), ("quarter", 91.3), ("month", 30.4), ("week", 7.0), ("day", 1.0))
FEWEST_PERIODS = 6
HOLDOUT_SHARE = 0.2  # of the rows, that the newest periods hold at least, 0..1
MAX_HELD_OUT = 0.6  # of the rows, that holdout and validation hold together, 0..1
DAY = 86_400  # seconds


def content_codes(columns: Sequence[InferredColumn]) -> np.ndarray:
    """Return a number for each row that is the same for rows of equal values (n,)."""
    hashes = np.zeros(columns[0].rows, np.uint64)
    for column in columns:
        codes = (column.codes + 2).astype(np.uint64)
        hashes = (hashes ^ codes) * MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes


def evident_group(
    inferred: Mapping[str, InferredColumn], label: Label, options: ProfileOptions
) -> tuple[tuple[str, ...], str]:
    """Return the column whose rows plainly belong together, and why; nothing where none does."""
    for name, column in inferred.items():
        is_candidate = column.kind in ("text", "category", "number") and name != options.label
        if not is_candidate or not has_id_name(name) or column.missing_rows:
            continue
        if column.kind == "number" and not column.are_whole:
            continue
        groups = column.distinct_count
        rows_per_group = column.rows / max(groups, 1)
        if groups < FEWEST_GROUPS or rows_per_group < FEWEST_ROWS_PER_GROUP:
            continue
        share = _same_label_share(column.codes, label.column.codes)
        if share >= LEAST_SAME_LABEL:
            reason = (
                f"an id with {rows_per_group:.1f} rows on average, which have one label in "
                f"{share:.0%} of the groups"
            )
            return (name,), reason
    return (), ""


def _same_label_share(codes: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of the groups of several rows whose rows have one label, 0..1."""
    has_label = labels != MISSING_CODE
    pairs = np.unique(np.stack([codes[has_label], labels[has_label]]), axis=1)
    _, labels_per_group = np.unique(pairs[0], return_counts=True)
    return float(np.mean(labels_per_group == 1))


def period_of(column: InferredColumn, label: Label) -> DateRange:
    """Return the period of a split forward in time, and how many of the newest are held out."""
    assert column.numbers is not None
    seconds = column.numbers[~np.isnan(column.numbers)]
    span = float(np.ptp(seconds)) / DAY if len(seconds) else 0.0
    period = PERIODS[-1][0]
    for name, days_long in PERIODS:
        if span / days_long >= FEWEST_PERIODS:
            period = name
            break
    if not len(seconds):
        return DateRange(period, 1, 1)
    microseconds = pa.array(np.round(seconds * 1e6).astype(np.int64))
    times = pa.chunked_array([microseconds.cast(pa.timestamp("us", "UTC"))])
    numbers = period_numbers(times, period)
    # How long ago each row is, in periods of the calendar, as the split counts them.
    ages = np.sort(numbers.max() - numbers)
    holdout = int(ages[min(len(ages) - 1, int(HOLDOUT_SHARE * len(ages)))]) + 1
    both = int(ages[min(len(ages) - 1, int(2 * HOLDOUT_SHARE * len(ages)))]) + 1
    older = ages[ages >= holdout]
    # The validation side reaches back to the first period that has rows.
    reach = int(older[0]) - holdout + 1 if len(older) else 1
    validation = max(1, both - holdout, reach)
    return DateRange(period, holdout, validation)
