"""Whether the first line of a CSV file is a header, or a row of the table."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from creche.contract.cells import MISSING_VALUES
from creche.profile.distinct import distinct_cells
from creche.profile.numbers import parse_numbers

LEAST_NUMBER_SHARE = 0.9  # distinct cells of a column that are numbers, 0..1
LEAST_SEEN_SHARE = 0.9  # columns whose first cell occurs in later rows, 0..1
FEWEST_COLUMNS = 2
FEWEST_ROWS = 5


def is_row(first_line: Sequence[str], table: pa.Table) -> bool:
    """Whether the first line of a table looks like a row.

    It does where it has numbers above columns of numbers, or where its texts occur below too; not
    where it has a word above a column of numbers.

    Args:
        first_line: its cells.
        table: the rows below it, in the same order of columns.
    """
    if table.num_rows < FEWEST_ROWS or table.num_columns < FEWEST_COLUMNS:
        return False
    are_numbers = ~np.isnan(parse_numbers(pa.array([cell.strip() for cell in first_line])))
    if _has_name_above_numbers(first_line, are_numbers, table):
        return False
    if are_numbers.any():
        return not _counts_up(first_line, are_numbers) and _has_numbers_below(are_numbers, table)
    seen = 0
    for cell, column in zip(first_line, table.columns, strict=True):
        distinct = distinct_cells("", column)
        seen += cell.strip() in distinct.texts.to_pylist()
    return seen >= LEAST_SEEN_SHARE * len(first_line)


def _has_name_above_numbers(
    first_line: Sequence[str], are_numbers: np.ndarray, table: pa.Table
) -> bool:
    """Whether a cell of several letters is above a column of numbers alone, as a name is."""
    for position in np.flatnonzero(~are_numbers):
        cell = first_line[int(position)].strip().lower()
        if not re.search(r"[^\W\d_]{2}", cell) or cell in MISSING_VALUES:
            continue
        numbers = parse_numbers(distinct_cells("", table.columns[int(position)]).texts)
        if len(numbers) >= FEWEST_ROWS and not np.isnan(numbers).any():
            return True
    return False


def _counts_up(first_line: Sequence[str], are_numbers: np.ndarray) -> bool:
    """Whether the numbers are 0, 1, 2 or years, which are names."""
    numbers = [float(cell) for cell, is_one in zip(first_line, are_numbers, strict=True) if is_one]
    return len(numbers) > 1 and bool(np.all(np.diff(numbers) == 1))


def _has_numbers_below(are_numbers: np.ndarray, table: pa.Table) -> bool:
    for position in np.flatnonzero(are_numbers):
        texts = distinct_cells("", table.columns[int(position)]).texts
        numbers = parse_numbers(texts)
        if not len(texts) or np.mean(~np.isnan(numbers)) < LEAST_NUMBER_SHARE:
            return False
    return True


def positional_names(count: int) -> tuple[str, ...]:
    """Return the names of the columns of a table without a header."""
    return tuple(f"column_{position}" for position in range(1, count + 1))
