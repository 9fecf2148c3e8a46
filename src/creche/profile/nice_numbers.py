"""Round numbers for a recipe that a person reads."""

import math
from collections.abc import Callable

ROOM = 0.25  # of the range, that is left below the smallest and above the largest number


def nice(value: float, step: float) -> float:
    """Return a number rounded to a power of ten that is not above a step."""
    if step <= 0 or not math.isfinite(step):
        return value
    digits = -math.floor(math.log10(step))
    return round(value, digits) + 0.0


def spelled(value: float) -> str:
    """Return a number as a recipe writes it: a whole one without a point."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def limits_with_room(
    smallest: float, largest: float, are_whole: bool = False
) -> tuple[float, float]:
    """Return limits a quarter of the range beyond the numbers, rounded outward to two digits of the
    range, and not below 0 where no number is.

    Args:
        are_whole: whether the numbers are whole, as the limits then are.
    """
    width = largest - smallest
    if width <= 0 or not math.isfinite(width):
        width = max(abs(smallest), 1.0)
    room = ROOM * width
    digits = 1 - math.floor(math.log10(width))
    if are_whole:
        digits = min(digits, 0)
    low = _rounded(smallest - room, digits, math.floor)
    high = _rounded(largest + room, digits, math.ceil)
    if smallest >= 0 and low < 0:
        low = 0.0
    if largest <= 0 and high > 0:
        high = 0.0
    return min(low, smallest), max(high, largest)


def _rounded(value: float, digits: int, direction: Callable[[float], int]) -> float:
    scale = 10.0**digits
    if not math.isfinite(value * scale):
        return value
    return round(direction(value * scale) / scale, max(digits, 0)) + 0.0


def shown(value: float) -> str:
    """Return a number for a comment: whole, or with six significant digits."""
    if value == int(value) and abs(value) < 1e12:
        # Years are read better without a comma.
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.6g}"
