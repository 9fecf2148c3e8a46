"""Convert an Arrow column by a function in Python, which sees each distinct value once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from creche.contract.arrow_cells import ConversionError, of_rows


def map_texts(
    texts: pa.Array, function: Callable[[str], str]
) -> tuple[pa.Array, list[ConversionError]]:
    """Return a dictionary of the texts that a function gives for each text, and the errors.

    Args:
        texts: plain, or a dictionary; null stays null.
        function: raises ValueError with the reason where it has none for a text.
    """
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    spelled, errors = map_distinct(encoded.dictionary.to_pylist(), encoded.indices, function)
    # Several texts may have become one.
    canonical = pa.array(np.array(spelled, dtype=object), pa.string()).dictionary_encode()
    indices = canonical.indices.take(encoded.indices)
    return pa.DictionaryArray.from_arrays(indices, canonical.dictionary), errors


def map_distinct(
    values: Sequence[Any], indices: pa.Array, function: Callable[[Any], Any]
) -> tuple[list[Any], list[ConversionError]]:
    """Return what a function gives for each distinct value, and the errors of the rows.

    Args:
        values: of a dictionary; None stays None.
        indices: of the rows, into the values.
        function: raises ValueError with the reason where it has none for a value.
    """
    results: list[Any] = []
    masks: dict[str, np.ndarray] = {}  # reason → mask of values
    for position, value in enumerate(values):
        result = None
        if value is not None:
            try:
                result = function(value)
            except ValueError as error:
                mask = masks.setdefault(str(error), np.zeros(len(values), bool))
                mask[position] = True
        results.append(result)
    return results, [of_rows(ConversionError(*entry), indices) for entry in masks.items()]
