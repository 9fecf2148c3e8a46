"""Categories of one column: as the codes that a model takes, and as the output has them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Column
from creche.contract.cells import MISSING_TEXT


def text_array(values: Sequence[str]) -> pa.Array:
    """Return strings as an Arrow array."""
    return pa.array(np.array(values, dtype=object), pa.string())


class CategoryLookup:
    """Looks up the values of one category.

    The domain is what the contract allows, or where it states nothing, what the model knows. A
    value is looked up there once; all else follows from its position. After the positions of the
    domain come one for all other values, and one for a missing value.
    """

    def __init__(
        self, column: Column, code_by_value: Mapping[str, float], unseen_code: float = np.nan
    ) -> None:
        """Prepare the look-up.

        Args:
            column: the category.
            code_by_value: the model's codes; that of the empty text is of a missing value.
            unseen_code: of a value without one.
        """
        domain = list(column.allowed_values or code_by_value)
        self._domain = text_array(domain)
        self._is_closed = bool(column.allowed_values)
        codes = [code_by_value.get(value, unseen_code) for value in domain]
        codes += [unseen_code, code_by_value.get(MISSING_TEXT, np.nan)]
        self._codes = np.array(codes, np.float32)

    def positions(self, cells: pa.Array) -> np.ndarray:
        """Return the position of each value (n,)."""
        unseen, missing = len(self._domain), len(self._domain) + 1
        if pa.types.is_dictionary(cells.type):
            # Each distinct value is looked up once, however many rows have it.
            of_values = pc.index_in(cells.dictionary, self._domain).fill_null(unseen)
            indices = of_values.take(cells.indices).fill_null(missing)
        else:
            indices = pc.index_in(cells, self._domain).fill_null(unseen)
            if cells.null_count:
                indices = pc.if_else(cells.is_null(), missing, indices)
        positions: np.ndarray = indices.to_numpy(zero_copy_only=False)
        return positions

    def codes(self, positions: np.ndarray) -> np.ndarray:
        """Return the codes (n,) of values, float32; NaN for those that the model does not take."""
        codes: np.ndarray = self._codes[positions]
        return codes

    def output(self, cells: pa.Array, positions: np.ndarray) -> pa.Array:
        """Return the values as the predictions have them."""
        if self._is_closed:
            is_missing = positions >= len(self._domain) if cells.null_count else None
            indices = pa.array(positions.astype(np.int16), mask=is_missing)
            return pa.DictionaryArray.from_arrays(indices, self._domain)
        if pa.types.is_dictionary(cells.type):
            # Each block has its own dictionary; the output's type must not depend on it.
            return cells.dictionary_decode()
        return cells
