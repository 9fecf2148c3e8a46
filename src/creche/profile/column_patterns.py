"""One line of a recipe for many columns whose names share a stem, as `sensor_*`."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from creche.profile.column_keys import column_keys, encoding
from creche.profile.nice_numbers import limits_with_room, shown
from creche.profile.plan import ProfiledColumn, TableProfile

FEWEST_COLUMNS = 10  # that a pattern stands for
LARGEST_WIDTH_RATIO = 100.0  # largest range / median range, above which limits would say nothing
NUMBERED = re.compile(r"(?P<stem>.*\D)\d+(?P<end>\D*)")


@dataclass(frozen=True)
class ColumnPattern:
    """Columns of numbers that one line states.

    Attributes:
        pattern: as the recipe has it.
        columns: the features that it stands for.
    """

    pattern: str
    columns: tuple[ProfiledColumn, ...]

    def keys(self) -> dict[str, Any]:
        """Return the keys of the line: the limits are those of all its columns."""
        counts = [column.counts for column in self.columns]
        limits = limits_with_room(
            min(each.smallest for each in counts),
            max(each.largest for each in counts),
            are_whole=all(column.inferred.are_whole for column in self.columns),
        )
        keys: dict[str, Any] = {"kind": "number", "min": limits[0], "max": limits[1]}
        if any(each.missing or each.bad for each in counts):
            keys["missing"] = "allow"
        return keys

    def encoding(self) -> Any:
        """Return the encoding that most of the columns would have."""
        return Counter(encoding(column) for column in self.columns).most_common(1)[0][0]

    def comment(self) -> str:
        """Return how many columns there are, and the range of them all."""
        smallest = min(column.counts.smallest for column in self.columns)
        largest = max(column.counts.largest for column in self.columns)
        first, last = self.columns[0].name, self.columns[-1].name
        return (
            f"{len(self.columns):,} columns, {first} to {last}; {shown(smallest)} to "
            f"{shown(largest)}"
        )


def find_patterns(profile: TableProfile) -> list[ColumnPattern]:
    """Return the patterns that a long table is written with, in the order of its header."""
    members: dict[tuple[str, str], list[ProfiledColumn]] = {}
    for column in profile.features:
        match = NUMBERED.fullmatch(column.header_name)
        if match and _is_plain_number(column, profile):
            members.setdefault((match["stem"], match["end"]), []).append(column)
    patterns: list[ColumnPattern] = []
    for (stem, end), columns in members.items():
        if len(columns) < FEWEST_COLUMNS or not _have_one_scale(columns) or "*" in stem + end:
            continue
        pattern = f"{stem}*{end}"
        matching = re.compile(f"{re.escape(stem)}.*{re.escape(end)}")
        is_ambiguous = any(
            matching.fullmatch(column.name) for other in patterns for column in other.columns
        )
        # What a pattern of features matches is a feature.
        is_left_out = any(
            matching.fullmatch(column.header_name) for column in profile.with_role("left out")
        )
        if not is_ambiguous and not is_left_out:
            patterns.append(ColumnPattern(pattern, tuple(columns)))
    return patterns


def _is_plain_number(column: ProfiledColumn, profile: TableProfile) -> bool:
    """Whether the keys of a column are those that a pattern may have."""
    if column.inferred.kind != "number" or column.name != column.header_name:
        return False
    keys = column_keys(column, profile)
    return column.counts.has_range and set(keys) <= {"kind", "min", "max", "missing"}


def _have_one_scale(columns: list[ProfiledColumn]) -> bool:
    widths = [column.counts.largest - column.counts.smallest for column in columns]
    return max(widths) <= LARGEST_WIDTH_RATIO * float(np.median(widths))
