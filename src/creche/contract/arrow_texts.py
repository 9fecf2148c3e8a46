"""Give the texts of an Arrow column other spellings, each distinct text once."""

from collections.abc import Callable

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
    distinct = encoded.dictionary.to_pylist()
    spelled: list[str | None] = []
    masks: dict[str, np.ndarray] = {}  # reason → mask of distinct texts
    for position, text in enumerate(distinct):
        try:
            spelled.append(None if text is None else function(text))
        except ValueError as error:
            spelled.append(None)
            mask = masks.setdefault(str(error), np.zeros(len(distinct), bool))
            mask[position] = True
    # Several texts may have become one.
    canonical = pa.array(np.array(spelled, dtype=object), pa.string()).dictionary_encode()
    indices = canonical.indices.take(encoded.indices)
    errors = [of_rows(ConversionError(*entry), encoded.indices) for entry in masks.items()]
    return pa.DictionaryArray.from_arrays(indices, canonical.dictionary), errors
