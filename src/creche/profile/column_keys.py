"""What a recipe states of each column: its keys, its encoding, and a comment."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from creche.profile.category_inference import MANY_VALUES
from creche.profile.inferred_column import InferredColumn
from creche.profile.names import unit_of
from creche.profile.nice_numbers import limits_with_room, shown
from creche.profile.plan import ProfiledColumn, TableProfile

FEWEST_VALUE_ROWS = 10  # of each value of a category whose values are listed
FEWEST_POOLED_ROWS = 10  # of a value of a category that is not pooled
MAX_POOLED_VALUES = 100
EMBEDDED_VALUES = 200  # of a category, from which on they get learned vectors
# In a table of so many rows one input for each value would take gigabytes: a category of more than
# a few values gets learned vectors then.
MANY_ROWS = 1_000_000
FEW_VALUES = 5
HEAVY_TAIL = 20.0  # range / interquartile range, from which on the mean says little
SHOWN_VALUES = 6
SHOWN_LENGTH = 30  # characters of a value in a comment
DAY_SECONDS = 86_400


def is_listed(column: ProfiledColumn) -> bool:
    """Whether the values of a category are few and frequent enough to be a closed list."""
    counts = column.counts.by_value
    if column.inferred.is_ordered or column.role == "label":
        return True
    return len(counts) <= MANY_VALUES and min(counts.values(), default=0) >= FEWEST_VALUE_ROWS


def column_keys(column: ProfiledColumn, profile: TableProfile) -> dict[str, Any]:
    """Return the keys of a column of the recipe, in the order in which they are written."""
    inferred = column.inferred
    keys: dict[str, Any] = {"kind": inferred.kind}
    if column.role == "label" and profile.label.edges:
        keys = {"kind": "bins", "edges": list(profile.label.edges)}
        keys.update(_number_format(inferred))
    elif column.role == "group":
        keys = {"kind": "text"}
    elif inferred.kind == "number":
        keys.update(_number_keys(column))
    elif inferred.kind == "category":
        keys.update(_category_keys(column))
    elif inferred.kind == "date" and inferred.date_formats.formats:
        keys["formats"] = list(inferred.date_formats.formats)
    if column.role == "feature" and (column.counts.missing or column.counts.bad):
        keys["missing"] = "allow"
    if (column.role == "label" and profile.label.is_none_a_class) or inferred.stated_spellings:
        keys["missing_values"] = list(inferred.stated_spellings)
    if column.aliases:
        keys["aliases"] = list(column.aliases)
    return keys


def _number_keys(column: ProfiledColumn) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    unit = unit_of(column.header_name)
    if unit:
        keys["unit"] = unit
    if column.counts.has_range:
        limits = (column.counts.smallest, column.counts.largest)
        low, high = limits_with_room(*limits, are_whole=column.inferred.are_whole)
        keys["min"], keys["max"] = low, high
    keys.update(_number_format(column.inferred))
    return keys


def _number_format(inferred: InferredColumn) -> dict[str, Any]:
    number_format = inferred.number_format
    keys: dict[str, Any] = {}
    if number_format.thousands or number_format.decimal_mark != ".":
        keys["decimal_mark"] = number_format.decimal_mark
    if number_format.thousands:
        keys["thousands"] = number_format.thousands
    if number_format.symbols:
        keys["symbols"] = list(number_format.symbols)
    return keys


def _category_keys(column: ProfiledColumn) -> dict[str, Any]:
    inferred = column.inferred
    keys: dict[str, Any] = {}
    if column.role == "label":
        keys["values"] = list(inferred.values)
    elif is_listed(column):
        keys["values"] = ordered_by(inferred, column.counts.by_value)
    else:
        keys["unseen"] = "other"
    if inferred.is_ordered and _keeps_order(inferred, column.counts.by_value):
        keys["ordered"] = True
    if inferred.normalize:
        keys["normalize"] = list(inferred.normalize)
    return keys


def _keeps_order(inferred: InferredColumn, counts: dict[str, int]) -> bool:
    return set(counts) <= set(inferred.values)


def ordered_by(inferred: InferredColumn, counts: dict[str, int]) -> list[str]:
    """Return the values of a whole table in the order that was found, further ones behind."""
    further = sorted(value for value in counts if value not in inferred.values)
    return [*inferred.values, *further]


def encoding(column: ProfiledColumn) -> Any:
    """Return how a feature is encoded, as the recipe writes it."""
    inferred = column.inferred
    if inferred.kind == "number":
        return "robust" if has_heavy_tail(inferred) else "standardize"
    if inferred.kind == "date":
        return {"date_parts": _varying_parts(inferred)}
    if inferred.kind == "boolean":
        return "one-hot"
    if inferred.is_ordered and _keeps_order(inferred, column.counts.by_value):
        return "thermometer"
    values = len(column.counts.by_value)
    is_too_wide = column.counts.rows >= MANY_ROWS and values > FEW_VALUES
    if is_listed(column) and not is_too_wide:
        return "one-hot"
    if values > EMBEDDED_VALUES or is_too_wide:
        width = int(min(16, max(4, round(values**0.25 * 2))))
        return {"embedding": {"width": width, "min_rows": 5}}
    return {"one_hot": {"min_rows": FEWEST_POOLED_ROWS, "max_values": MAX_POOLED_VALUES}}


def _varying_parts(inferred: InferredColumn) -> list[str]:
    """Return the parts of a date that are not the same in all rows."""
    assert inferred.numbers is not None
    seconds = inferred.numbers[~np.isnan(inferred.numbers)]
    days = np.floor(seconds / DAY_SECONDS).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    values = {
        "year": days.astype("datetime64[Y]"),
        "month": months.astype(np.int64) % 12,
        "day": (days - months).astype(np.int64),
        "weekday": days.astype(np.int64) % 7,
        "hour": np.floor(seconds % DAY_SECONDS / 3600),
        "elapsed": days,
    }
    varying = [part for part, each in values.items() if len(np.unique(each)) > 1]
    return varying or ["elapsed"]


def has_heavy_tail(inferred: InferredColumn) -> bool:
    """Whether a few numbers lie so far out that they decide mean and deviation."""
    assert inferred.numbers is not None
    numbers = inferred.numbers[~np.isnan(inferred.numbers)]
    if not len(numbers):
        return False
    low, high = np.quantile(numbers, [0.25, 0.75])
    return bool(high > low and np.ptp(numbers) > HEAVY_TAIL * (high - low))


def comment_of(column: ProfiledColumn, profile: TableProfile) -> str:
    """Return what was seen in a column: its range or frequent values, and the share missing."""
    parts = []
    if column.role == "label":
        return _label_comment(profile)
    if column.role == "group":
        parts.append(f"{profile.group_reason}: its rows stay in one split")
    elif column.inferred.kind == "number" and column.counts.has_range:
        parts.append(f"{shown(column.counts.smallest)} to {shown(column.counts.largest)}")
    elif column.inferred.kind == "date" and column.counts.has_range:
        parts.append(f"{day(column.counts.smallest)} to {day(column.counts.largest)}")
    elif column.inferred.kind in ("category", "boolean"):
        parts.append(_frequent_values(column))
    if column.counts.missing:
        parts.append(f"{percent(column.counts.missing_share)} missing")
    return "; ".join(parts)


def _label_comment(profile: TableProfile) -> str:
    rows = "rows in the sample" if _is_in_sample(profile) else "rows"
    counts = profile.class_counts().items()
    shown_classes = ", ".join(f"{name} {count:,}" for name, count in counts)
    return f"the label; {rows}: {shown_classes}"


def _is_in_sample(profile: TableProfile) -> bool:
    """Whether the rows by class are of the sample alone."""
    return bool(profile.label.edges) and not profile.sample.is_complete


def _frequent_values(column: ProfiledColumn) -> str:
    by_count = sorted(column.counts.by_value.items(), key=lambda item: (-item[1], item[0]))
    shown_values = []
    for value, count in by_count[:SHOWN_VALUES]:
        text = value if len(value) <= SHOWN_LENGTH else f"{value[:SHOWN_LENGTH]}…"
        shown_values.append(f"{text} {count:,}")
    more = len(by_count) - len(shown_values)
    suffix = f" and {more:,} more values" if more > 0 else ""
    return ", ".join(shown_values) + suffix


def percent(share: float) -> str:
    """Return a share as a percentage that is 0 or 100 only where it is exactly."""
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.1f} %"


def day(seconds: float) -> str:
    """Return the day of a time in seconds since 1970."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"
