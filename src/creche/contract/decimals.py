"""Numbers as the decimals that people wrote, in arrays.

A binary float of few bits stands for the shortest decimal that is read as it (Steele and White,
1990, How to Print Floating-Point Numbers Accurately): float32 0.3 is 0.3, and not
0.30000001192092896, which is what a cast to float64 makes of it.
"""

import numpy as np
import pyarrow as pa

from creche.contract.cells import CONVERSION_DIGITS, LARGEST_EXACT_POWER

SURE_DIGITS = 6  # every decimal of so many significant digits is a float32 of its own
MOST_DIGITS = 9  # so many significant digits distinguish every float32 from all others
POWERS_OF_TEN = 10.0 ** np.arange(LARGEST_EXACT_POWER + 1)


def shortest_decimals(values: np.ndarray) -> np.ndarray:
    """Return float16 or float32 numbers (n,) as the float64 of their shortest decimals (n,)."""
    if values.dtype == np.float16:
        # There are few of them.
        distinct, inverse = np.unique(values, return_inverse=True)
        return np.array([float(str(value)) for value in distinct])[inverse]
    decimals = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.floor(np.log10(np.abs(decimals)))
    is_exact = (decimals == np.rint(decimals)) & (exponents < SURE_DIGITS)
    # Of a power of two the neighbor below is nearer than the one above, and the scale of a number
    # of many places is not exact: `str` knows.
    is_small_power_of_two = (np.abs(np.frexp(decimals)[0]) == 0.5) & (exponents < -2)
    is_regular = (exponents > -10) & (exponents < SURE_DIGITS) & ~is_small_power_of_two
    is_special = ~is_exact & ~is_regular & np.isfinite(decimals)
    pending = np.flatnonzero(is_regular & ~is_exact)
    for digits in range(SURE_DIGITS, MOST_DIGITS + 1):
        if not len(pending):
            break
        places = digits - 1 - exponents[pending].astype(np.int64)
        rounded = _round(decimals[pending], places)
        is_same = rounded.astype(np.float32) == values[pending]
        decimals[pending[is_same]] = rounded[is_same]
        pending = pending[~is_same]
    for i in np.flatnonzero(is_special):
        decimals[i] = float(str(values[i]))
    return decimals


def _round(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return numbers (n,) rounded to so many decimal places (n,), 0 to 22."""
    scales = POWERS_OF_TEN[np.clip(places, 0, LARGEST_EXACT_POWER)]
    rounded: np.ndarray = np.rint(values * scales) / scales
    return rounded


def convert_units(values: np.ndarray, factor: float) -> np.ndarray:
    """Return numbers (n,) in another unit, as `cells.convert_unit` does one by one."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        products = values * factor
        exponents = np.floor(np.log10(np.abs(products)))
    places = CONVERSION_DIGITS - 1 - exponents
    is_rounded = (places >= 0) & (places <= LARGEST_EXACT_POWER)
    positions = np.flatnonzero(is_rounded)
    products[positions] = _round(products[positions], places[positions].astype(np.int64))
    return products


def decimals_as_floats(cells: pa.Array) -> pa.Array:
    """Return an Arrow array of decimals as the nearest float64.

    Arrow's own cast gives 1003.8580000000001 for 1003.858.
    """
    return cells.cast(pa.string()).cast(pa.float64())
