"""Convert Arrow columns of cells into values.

A whole column gives the same values and errors as its cells one by one (`creche.contract.cells`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import FLOAT32_MAX, MISSING_VALUES, NOT_FINITE, parse_number, parse_text

# Numbers that Arrow and Python read alike.
PLAIN_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$"
_MISSING = pa.array(np.array(sorted(MISSING_VALUES)))


class ConversionError(NamedTuple):
    """Cells that cannot be converted for one reason."""

    reason: str
    mask: np.ndarray  # of those cells (n,)


def to_numbers(cells: pa.Array, decimal_mark: str = ".") -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as float64, null where there is no number, and the errors."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    errors: list[ConversionError] = []
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        if decimal_mark == ",":
            cells = pc.replace_substring(cells, ",", ".")
        floats, errors = _parse_texts(cells)
    elif _is_numeric(cells.type):
        floats = cells.cast(pa.float64(), safe=False)
    else:
        return _parse_one_by_one(cells.to_pylist())
    finite, infinity_errors = _without_infinities(floats)
    return finite, [*errors, *infinity_errors]


def convert_unit(numbers: pa.Array, factor: float) -> tuple[pa.Array, list[ConversionError]]:
    """Return numbers (n,) in another unit, null where that is not finite, and the errors.

    Args:
        numbers: float64.
        factor: how many of the new unit one of the old is.
    """
    return _without_infinities(pc.multiply(numbers, factor))


def _without_infinities(floats: pa.Array) -> tuple[pa.Array, list[ConversionError]]:
    """Return float64 with null in place of what is not finite in float32, and the errors."""
    dense = floats.to_numpy(zero_copy_only=False)  # null becomes NaN
    # In the common case no mask is needed; the comparison is false where one value is NaN.
    if len(dense) and -FLOAT32_MAX <= dense.min() <= dense.max() <= FLOAT32_MAX:
        return floats, []
    is_infinite = np.abs(dense) > FLOAT32_MAX
    errors = [ConversionError(NOT_FINITE, is_infinite)] if is_infinite.any() else []
    return pa.array(np.where(is_infinite, np.nan, dense), from_pandas=True), errors


def _is_numeric(arrow_type: pa.DataType) -> bool:
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type):
        return True
    return bool(pa.types.is_decimal(arrow_type) or arrow_type == pa.null())


def _parse_texts(cells: pa.Array) -> tuple[pa.Array, list[ConversionError]]:
    """Return text as float64, and the errors.

    Arrow converts plain numbers; only cells of another form are parsed one by one.
    """
    try:
        floats = cells.cast(pa.float64())
        # Arrow reads `nan` and `nan(1)` alike, but only the first is a missing value.
        if not pc.any(pc.is_nan(floats)).as_py():
            return floats, []
    except pa.ArrowInvalid:
        pass
    trimmed = to_texts(cells)
    is_plain = pc.match_substring_regex(trimmed, PLAIN_NUMBER)
    floats = pc.if_else(is_plain, trimmed, None).cast(pa.float64())
    unusual = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(is_plain), False)))
    if not len(unusual):
        return floats, []
    values, errors_of_unusual = _parse_one_by_one(trimmed.take(pa.array(unusual)).to_pylist())
    filled = floats.to_numpy(zero_copy_only=False).copy()
    filled[unusual] = values.to_numpy(zero_copy_only=False)
    errors = []
    for reason, mask_of_unusual in errors_of_unusual:
        mask = np.zeros(len(cells), bool)
        mask[unusual[mask_of_unusual]] = True
        errors.append(ConversionError(reason, mask))
    return pa.array(filled, from_pandas=True), errors


def _parse_one_by_one(cells: Sequence[Any]) -> tuple[pa.Array, list[ConversionError]]:
    values = np.full(len(cells), np.nan)
    masks: dict[str, np.ndarray] = {}
    for i, cell in enumerate(cells):
        try:
            value = parse_number(cell)
        except ValueError as error:
            mask = masks.setdefault(str(error), np.zeros(len(cells), bool))
            mask[i] = True
            continue
        if value is not None:
            values[i] = value
    errors = [ConversionError(reason, mask) for reason, mask in masks.items()]
    return pa.array(values, from_pandas=True), errors


def to_texts(cells: pa.Array) -> pa.Array:
    """Return cells as text without surrounding spaces, null where a value is missing."""
    if pa.types.is_dictionary(cells.type):
        return to_texts(cells.dictionary).take(cells.indices)
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        texts = [parse_text(cell) for cell in cells.to_pylist()]
        return pa.array(np.array(texts, dtype=object), pa.string())
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), _MISSING), None, trimmed)


def to_categories(cells: pa.Array) -> pa.Array:
    """Return cells as an Arrow dictionary, whose values are processed once however many rows have
    them; cells other than text give plain text.
    """
    if pa.types.is_string(cells.type):
        cells = cells.dictionary_encode()
    if not pa.types.is_dictionary(cells.type):
        return to_texts(cells)
    values = to_texts(cells.dictionary)
    if values.equals(cells.dictionary):
        return cells
    return values.take(cells.indices)
