"""Find out how a column spells a missing value, and warn of numbers that may stand for one."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.profile.distinct import DistinctCells

# Beside the usual ones, where a column has other values too.
ANYWHERE = ("?", "??", "\\n", "n.a.", "n.a", "#value!", "#ref!", "#div/0!", "(null)", "<na>", "nil")
DASHES = ("-", "--", "---", "–", "—", "*")
WORDS = ("unknown", "missing", "not available", "not known", "tbd", "x", "nd", "n.d.", "blank")
SENTINELS = (99, 999, 9999, 99999, -9, -99, -999, -9999, -99999)
LEAST_SENTINEL_SHARE = 0.001  # of the rows, 0..1
LARGEST_ZERO_SHARE = 0.6  # of the rows: where most are 0, it is a value like others
LEAST_COUNT_ABOVE_ZERO = 5  # from which on the smallest whole number is too far from 0 to be next
LEAST_RATIO = 0.1  # smallest positive number / median, from which on 0 is not the next one


def missing_mask(distinct: DistinctCells, spellings: tuple[str, ...]) -> np.ndarray:
    """Return whether each distinct cell is missing: the usual spellings, and these (d,)."""
    if not spellings:
        return distinct.is_usual_missing
    is_own = np.asarray(pc.is_in(distinct.lower, value_set=pa.array(spellings, pa.string())))
    return np.asarray(distinct.is_usual_missing | is_own)


def candidates_in(distinct: DistinctCells, is_number: bool) -> tuple[str, ...]:
    """Return the spellings beside the usual ones that stand for a missing value here.

    A question mark always does, a dash beside words and numbers, and a word such as `unknown` among
    numbers alone: among words it may be a value.
    """
    accepted = [*ANYWHERE, *DASHES]
    if is_number:
        accepted += WORDS
    is_candidate = np.asarray(pc.is_in(distinct.lower, value_set=pa.array(accepted)))
    is_other = ~is_candidate & ~distinct.is_usual_missing
    if not is_other.any():
        return ()
    found = distinct.lower.filter(pa.array(is_candidate)).to_pylist()
    return tuple(sorted(set(found)))


def stated_spellings(distinct: DistinctCells, extra: tuple[str, ...]) -> tuple[str, ...]:
    """Return what `missing_values` must list: these, and the usual ones that occur; none where the
    usual ones are enough.
    """
    if not extra:
        return ()
    texts = distinct.texts.filter(pa.array(missing_mask(distinct, extra)))
    return tuple(sorted(texts.to_pylist()))


def number_warning(numbers: np.ndarray, counts: np.ndarray) -> str | None:
    """Return what looks like a missing value among the numbers of a column.

    Args:
        numbers: distinct, without NaN (d,).
        counts: rows of each (d,).
    """
    rows = int(counts.sum())
    if len(numbers) < 4 or not rows:
        return None
    order = np.argsort(numbers)
    numbers, counts = numbers[order], counts[order]
    for position, neighbor in ((0, 1), (-1, -2)):
        value, share = float(numbers[position]), counts[position] / rows
        if share < LEAST_SENTINEL_SHARE or counts[position] < 2:
            continue
        gap = abs(value - float(numbers[neighbor]))
        others = np.delete(numbers, position)
        spread = float(others.max() - others.min())
        if value in SENTINELS and gap > spread:
            return _may_be_missing(value, share)
        if value == -1 and others.min() >= 0:
            return _may_be_missing(value, share)
    return _zero_warning(numbers, counts, rows)


def _zero_warning(numbers: np.ndarray, counts: np.ndarray, rows: int) -> str | None:
    if numbers[0] != 0:
        return None
    share = counts[0] / rows
    if not LEAST_SENTINEL_SHARE <= share <= LARGEST_ZERO_SHARE:
        return None
    positive, positive_counts = numbers[1:], counts[1:]
    middle = np.searchsorted(np.cumsum(positive_counts), positive_counts.sum() / 2)
    ratio = float(positive[0] / positive[middle])
    are_whole = bool(np.all(positive == np.round(positive)))
    is_far = positive[0] >= LEAST_COUNT_ABOVE_ZERO if are_whole else ratio >= 2 * LEAST_RATIO
    # The steps between small numbers tell how near to 0 the next one would be.
    steps = np.diff(positive[: max(10, len(positive) // 10)])
    is_gap = len(steps) > 0 and positive[0] > 3 * float(np.median(steps))
    if is_far and is_gap and ratio >= LEAST_RATIO and positive[-1] < 1000 * positive[0]:
        return _may_be_missing(0.0, share)
    return None


def _may_be_missing(value: float, share: float) -> str:
    return (
        f"{value:g} in {share:.1%} of the rows, far from all other values: if it means missing, "
        f'add missing_values: ["{value:g}"] and missing: allow'
    )
