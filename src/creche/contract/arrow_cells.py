"""Convert Arrow columns of cells into values.

A whole column gives the same values and errors as its cells one by one (`creche.contract.cells`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import (
    FLOAT32_MAX,
    MISSING_VALUES,
    NOT_FINITE,
    NOT_UTF8_TEXT,
    missing_numbers,
    parse_number,
    parse_text,
    spell_text,
)
from creche.contract.decimals import convert_units, decimals_as_floats, shortest_decimals
from creche.contract.number_format import PLAIN_FORMAT, NumberFormat

# Numbers that Arrow and Python read alike.
PLAIN_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$"
# Texts whose canonical spelling may be another one, besides those that are not ASCII.
RESPELLED = r"^(-?\d+\.0+|[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$"
RESPELLED_WITH_COMMA = r"^[-+]?[\d,]+([eE][-+]?\d+)?$|" + RESPELLED
CACHED_VALUES = 256  # of a dictionary
CACHED_DICTIONARIES = 256
INSTEAD_OF_POINT = "\ufffd"  # no number holds it


class ConversionError(NamedTuple):
    """Cells that cannot be converted for one reason."""

    reason: str
    mask: np.ndarray  # of those cells (n,)


@dataclass(frozen=True)
class CellFormat:
    """How the cells of one column of a file are to be read."""

    missing: frozenset[str] = MISSING_VALUES  # spellings of a missing value, in lower case
    decimal_mark: str = "."  # what separates whole and fraction in a text
    unit_factor: float = 1.0  # how many of the contract's unit one of the file's is
    number_format: NumberFormat = PLAIN_FORMAT  # what is removed from a text of a number


PLAIN = CellFormat()


def to_numbers(
    cells: pa.Array, cell_format: CellFormat = PLAIN
) -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as float64, null where there is no number, and the errors.

    A number of a narrower type is the shortest decimal that is read as it: 0.3 as float32 is 0.3.
    """
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    cells = bytes_as_text(cells)
    errors: list[ConversionError] = []
    if is_text(cells.type):
        floats, errors = _parse_texts(cells, cell_format)
    elif _is_numeric(cells.type):
        floats = _as_float64(cells)
    else:
        return _parse_one_by_one(cells.to_pylist(), cell_format)
    sentinels = missing_numbers(cell_format.missing, cell_format.decimal_mark)
    if sentinels:
        is_missing = pc.is_in(floats, pa.array(sorted(sentinels), pa.float64()))
        floats = pc.if_else(is_missing, None, floats)
    if cell_format.unit_factor != 1:
        converted = convert_units(floats.to_numpy(zero_copy_only=False), cell_format.unit_factor)
        floats = pa.array(converted, from_pandas=True)
    return _without_infinities(floats, errors)


def _without_infinities(
    floats: pa.Array, errors: list[ConversionError]
) -> tuple[pa.Array, list[ConversionError]]:
    dense = floats.to_numpy(zero_copy_only=False)  # null becomes NaN
    # In the common case no mask is needed; the comparison is false where one value is NaN.
    if len(dense) and -FLOAT32_MAX <= dense.min() <= dense.max() <= FLOAT32_MAX:
        return floats, errors
    is_infinite = np.abs(dense) > FLOAT32_MAX
    if is_infinite.any():
        errors = [*errors, ConversionError(NOT_FINITE, is_infinite)]
    return pa.array(np.where(is_infinite, np.nan, dense), from_pandas=True), errors


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether a column's cells are text."""
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _is_numeric(arrow_type: pa.DataType) -> bool:
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type):
        return True
    return bool(pa.types.is_decimal(arrow_type) or arrow_type == pa.null())


def is_binary(arrow_type: pa.DataType) -> bool:
    """Whether a column's cells are bytes."""
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(check(arrow_type) for check in checks)


def bytes_as_text(cells: pa.Array) -> pa.Array:
    """Return text that Hive and Impala wrote as bytes as text; what is no text stays as it is."""
    if not is_binary(cells.type):
        return cells
    try:
        return cells.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return cells


def _as_float64(cells: pa.Array) -> pa.Array:
    """Return numbers as the float64 that is the same decimal."""
    if pa.types.is_float16(cells.type) or pa.types.is_float32(cells.type):
        narrow = cells.to_numpy(zero_copy_only=False)
        # Null became NaN.
        return pa.array(shortest_decimals(narrow), from_pandas=True)
    if pa.types.is_decimal(cells.type):
        return decimals_as_floats(cells)
    return cells.cast(pa.float64(), safe=False)


def _parse_texts(
    cells: pa.Array, cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    """Return text as float64, and the errors.

    Arrow converts plain numbers; only cells of another form are parsed one by one.
    """
    texts, missing = cells, cell_format.missing
    if cell_format.decimal_mark == "," or not cell_format.number_format.is_plain:
        # The spellings of a missing value are those of the file, with its own marks.
        texts, missing = _with_points(cells, cell_format), frozenset()
    try:
        floats = texts.cast(pa.float64())
        # Arrow reads `nan` and `nan(1)` alike, but only the first is a missing value.
        if not pc.any(pc.is_nan(floats)).as_py():
            return floats, []
    except pa.ArrowInvalid:
        pass
    trimmed = _without_missing(pc.utf8_trim_whitespace(texts.cast(pa.string())), missing)
    is_plain = pc.match_substring_regex(trimmed, PLAIN_NUMBER)
    floats = pc.if_else(is_plain, trimmed, None).cast(pa.float64())
    unusual = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(is_plain), False)))
    if not len(unusual):
        return floats, []
    unusual_cells = cells.take(pa.array(unusual)).to_pylist()
    values, errors_of_unusual = _parse_one_by_one(unusual_cells, cell_format)
    filled = floats.to_numpy(zero_copy_only=False).copy()
    filled[unusual] = values.to_numpy(zero_copy_only=False)
    errors = []
    for reason, mask_of_unusual in errors_of_unusual:
        mask = np.zeros(len(cells), bool)
        mask[unusual[mask_of_unusual]] = True
        errors.append(ConversionError(reason, mask))
    return pa.array(filled, from_pandas=True), errors


def _with_points(cells: pa.Array, cell_format: CellFormat) -> pa.Array:
    """Return texts of numbers without separators of thousands and signs, with a decimal point, and
    with null where the value is missing.
    """
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    present = _without_missing(trimmed, cell_format.missing)
    texts = cell_format.number_format.plain_texts(present, cell_format.decimal_mark)
    if cell_format.decimal_mark == ",":
        texts = pc.replace_substring(texts, ".", INSTEAD_OF_POINT)
        texts = pc.replace_substring(texts, ",", ".")
    return texts


def _parse_one_by_one(
    cells: Sequence[Any], cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    values = np.full(len(cells), np.nan)
    masks: dict[str, np.ndarray] = {}
    for i, cell in enumerate(cells):
        try:
            value = parse_number(
                cell, cell_format.missing, cell_format.decimal_mark, cell_format.number_format
            )
        except ValueError as error:
            mask = masks.setdefault(str(error), np.zeros(len(cells), bool))
            mask[i] = True
            continue
        if value is not None:
            values[i] = value
    errors = [ConversionError(reason, mask) for reason, mask in masks.items()]
    return pa.array(values, from_pandas=True), errors


def to_texts(
    cells: pa.Array, cell_format: CellFormat = PLAIN
) -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as text in its canonical spelling, null where missing, and the errors."""
    if pa.types.is_dictionary(cells.type):
        texts, errors = to_texts(cells.dictionary, cell_format)
        return texts.take(cells.indices), [of_rows(error, cells.indices) for error in errors]
    cells = bytes_as_text(cells)
    if is_binary(cells.type):
        return _decode_one_by_one(cells.to_pylist(), cell_format)
    if not is_text(cells.type):
        return _spell_values(cells, cell_format), []
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return _spell_texts(_without_missing(trimmed, cell_format.missing), cell_format), []


def _without_missing(trimmed: pa.Array, missing: frozenset[str]) -> pa.Array:
    """Return texts with null in place of the spellings of a missing value."""
    spellings = pa.array(np.array(sorted(missing), dtype=object), pa.string())
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), spellings), None, trimmed)


def of_rows(error: ConversionError, indices: pa.Array) -> ConversionError:
    """Return an error of dictionary values as one of the rows that have them."""
    mask = pc.fill_null(pa.array(error.mask).take(indices), False)
    return ConversionError(error.reason, np.asarray(mask))


def _decode_one_by_one(
    cells: Sequence[bytes | None], cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    texts: list[str | None] = []
    is_broken = np.zeros(len(cells), bool)
    for i, cell in enumerate(cells):
        try:
            texts.append(parse_text(cell, cell_format.missing, cell_format.decimal_mark))
        except ValueError:
            texts.append(None)
            is_broken[i] = True
    array = pa.array(np.array(texts, dtype=object), pa.string())
    return array, [ConversionError(NOT_UTF8_TEXT, is_broken)]


def _spell_values(cells: pa.Array, cell_format: CellFormat) -> pa.Array:
    """Return cells that are no text as text; each distinct one is spelled once."""
    if pa.types.is_float16(cells.type) or pa.types.is_float32(cells.type):
        cells = _as_float64(cells)
    try:
        encoded = cells.dictionary_encode()
        values, indices = encoded.dictionary, encoded.indices
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        values, indices = cells, None
    try:
        cells_of_values = values.to_pylist()
    except (OverflowError, ValueError, KeyError):
        # Python has no years after 9999, and may not know a time zone: then it is the time in UTC.
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp(values.type.unit))
        cells_of_values = values.cast(pa.string()).to_pylist()
    texts = [parse_text(value, cell_format.missing) for value in cells_of_values]
    array = pa.array(np.array(texts, dtype=object), pa.string())
    return array if indices is None else array.take(indices)


def _spell_texts(texts: pa.Array, cell_format: CellFormat) -> pa.Array:
    """Return trimmed texts in their canonical spelling."""
    pattern = RESPELLED_WITH_COMMA if cell_format.decimal_mark == "," else RESPELLED
    # Arrow's own normalization to NFC gives NFD (seen with pyarrow 25).
    may_differ = pc.or_(
        pc.match_substring_regex(texts, pattern), pc.invert(pc.string_is_ascii(texts))
    )
    is_respelled = pc.fill_null(may_differ, False)
    positions = np.flatnonzero(np.asarray(is_respelled))
    if not len(positions):
        return texts
    encoded = texts.take(pa.array(positions)).dictionary_encode()
    spelled = []
    for text in encoded.dictionary.to_pylist():
        spelled.append(spell_text(text, cell_format.decimal_mark))
    replacements = pa.array(np.array(spelled, dtype=object), pa.string()).take(encoded.indices)
    return pc.replace_with_mask(texts, is_respelled, replacements)


def to_categories(
    cells: pa.Array, cell_format: CellFormat = PLAIN
) -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as an Arrow dictionary, whose values are processed once however many rows have
    them, and the errors; cells other than text give plain text.
    """
    if pa.types.is_string(cells.type):
        cells = cells.dictionary_encode()
    if not pa.types.is_dictionary(cells.type):
        return to_texts(cells, cell_format)
    values, errors = _spelled_dictionary(cells.dictionary, cell_format)
    # A null in the dictionary is none of the indices' nulls, which all else counts.
    if values.equals(cells.dictionary) and not values.null_count:
        return cells, []
    return values.take(cells.indices), [of_rows(error, cells.indices) for error in errors]


def _spelled_dictionary(
    values: pa.Array, cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    """Return what `to_texts` does; most blocks of a file have one dictionary, spelled once."""
    if not is_text(values.type) or len(values) > CACHED_VALUES:
        return to_texts(values, cell_format)
    return _spelled_once(tuple(values.to_pylist()), cell_format), []


@lru_cache(maxsize=CACHED_DICTIONARIES)
def _spelled_once(values: tuple[str | None, ...], cell_format: CellFormat) -> pa.Array:
    array = pa.array(np.array(values, dtype=object), pa.string())
    # Text has no errors.
    return to_texts(array, cell_format)[0]
