"""Categories of one column: as the codes that a model takes, and as the output has them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Column


def text_array(values: Sequence[str]) -> pa.Array:
    """Return strings as an Arrow array."""
    return pa.array(np.array(values, dtype=object), pa.string())


class CategoryLookup:
    """Looks up the values of one category.

    The domain is what the contract allows, or where it states nothing, what training saw. A value
    is looked up there once; all else follows from its position.
    """

    def __init__(self, column: Column, vocabulary: list[str]) -> None:
        """Prepare the look-up.

        Args:
            vocabulary: the values seen in training; a value's position is its code.
        """
        domain = list(column.allowed_values or vocabulary)
        self._domain = text_array(domain)
        self._is_closed = bool(column.allowed_values)
        code_of = {value: float(code) for code, value in enumerate(vocabulary)}
        codes = [code_of.get(value, np.nan) for value in domain]
        # One more NaN, at the position that stands for all values outside the domain.
        self._codes = np.array([*codes, np.nan], np.float32)

    def positions(self, cells: pa.Array) -> np.ndarray:
        """Return the position of each value (n,) in the domain, its length where it is absent."""
        if pa.types.is_dictionary(cells.type):
            # Each distinct value is looked up once, however many rows have it.
            indices = pc.index_in(cells.dictionary, self._domain).take(cells.indices)
        else:
            indices = pc.index_in(cells, self._domain)
        filled = indices.fill_null(len(self._domain))
        positions: np.ndarray = filled.to_numpy(zero_copy_only=False)
        return positions

    def codes(self, positions: np.ndarray) -> np.ndarray:
        """Return the codes (n,) of values, float32; NaN for those not seen in training."""
        codes: np.ndarray = self._codes[positions]
        return codes

    def output(self, cells: pa.Array, positions: np.ndarray) -> pa.Array:
        """Return the values as the predictions have them."""
        if self._is_closed:
            indices = pa.array(positions.astype(np.int16))
            return pa.DictionaryArray.from_arrays(indices, self._domain)
        if pa.types.is_dictionary(cells.type):
            # Each block has its own dictionary; the output's type must not depend on it.
            return cells.dictionary_decode()
        return cells
