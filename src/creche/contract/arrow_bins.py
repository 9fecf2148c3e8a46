"""Convert an Arrow column of numbers into the classes that they are in."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.arrow_cells import (
    CellFormat,
    ConversionError,
    is_text,
    to_numbers,
)
from creche.contract.cells import spell_text


def to_bins(
    cells: pa.Array, edges: tuple[float, ...], names: tuple[str, ...], cell_format: CellFormat
) -> tuple[pa.Array, list[ConversionError]]:
    """Return a dictionary of class names, null where there is no number, and the errors.

    Args:
        cells: numbers, texts of numbers, or names of classes.
        edges: where a class ends and the next one begins, which includes the edge.
        names: of the classes, one more than edges.
        cell_format: of the numbers.
    """
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    codes_of_names = None
    if is_text(cells.type):
        codes_of_names = _codes_of_names(cells, names)
        cells = pc.if_else(pc.is_null(codes_of_names), cells, None)
    numbers, errors = to_numbers(cells, cell_format)
    is_missing = np.asarray(pc.is_null(numbers))
    codes = np.searchsorted(edges, numbers.to_numpy(zero_copy_only=False), side="right")
    indices = pa.array(codes.astype(np.int32), mask=is_missing)
    if codes_of_names is not None:
        indices = pc.coalesce(codes_of_names, indices)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())), errors


def _codes_of_names(texts: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Return the position of each text among the names, null where it is none of them."""
    encoded = texts.cast(pa.string()).dictionary_encode()
    codes: list[int | None] = []
    for text in encoded.dictionary.to_pylist():
        spelled = spell_text(text)
        codes.append(names.index(spelled) if spelled in names else None)
    return pa.array(codes, pa.int32()).take(encoded.indices)
