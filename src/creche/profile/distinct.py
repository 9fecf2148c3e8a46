"""The distinct cells of one column, as texts: what everything is inferred from.

A value that occurs a thousand times is looked at once, and no row is a Python object.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import MISSING_VALUES

Native = Literal["text", "number", "boolean", "date", "nested", "bytes"]
MISSING_CODE = -1


@dataclass(frozen=True)
class DistinctCells:
    """The distinct cells of one column of a table.

    Attributes:
        header_name: of the column in the file.
        native: what the file itself says that the cells are; text where it says nothing.
        texts: the distinct cells without surrounding spaces, in order of first occurrence (d,).
        codes: position in `texts` of each row's cell, -1 where it is null or empty (n,).
    """

    header_name: str
    native: Native
    texts: pa.Array
    codes: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.codes)

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows of each distinct cell (d,)."""
        present = self.codes[self.codes != MISSING_CODE]
        return np.bincount(present, minlength=len(self.texts))

    @cached_property
    def lower(self) -> pa.Array:
        """The distinct cells in lower case (d,)."""
        return pc.utf8_lower(self.texts)

    @cached_property
    def is_usual_missing(self) -> np.ndarray:
        """Whether each distinct cell is a usual spelling of a missing value (d,)."""
        spellings = pa.array(sorted(MISSING_VALUES))
        return np.asarray(pc.is_in(self.lower, value_set=spellings))

    @cached_property
    def null_rows(self) -> int:
        """Rows whose cell is null or empty."""
        return int(np.count_nonzero(self.codes == MISSING_CODE))


def distinct_cells(header_name: str, column: pa.Array | pa.ChunkedArray) -> DistinctCells:
    """Return the distinct cells of a column of any Arrow type."""
    cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(cells, pa.ChunkedArray):
        # Arrow leaves a column without rows in chunks.
        cells = pa.concat_arrays(cells.chunks) if cells.num_chunks else pa.nulls(0, pa.string())
    native = native_kind(cells.type)
    if native in ("nested", "bytes"):
        texts = pa.array([], pa.string())
        codes = np.where(np.asarray(cells.is_null()), MISSING_CODE, 0)
        return DistinctCells(header_name, native, texts, codes)
    encoded = _trimmed_texts(cells).dictionary_encode()
    codes = encoded.indices.fill_null(MISSING_CODE).to_numpy(zero_copy_only=False)
    return _without_empty(DistinctCells(header_name, native, encoded.dictionary, codes))


def native_kind(arrow_type: pa.DataType) -> Native:
    """Return what an Arrow type says of the cells."""
    types = pa.types
    if types.is_dictionary(arrow_type):
        return native_kind(arrow_type.value_type)
    if types.is_nested(arrow_type):
        return "nested"
    is_bytes = types.is_binary(arrow_type) or types.is_large_binary(arrow_type)
    if is_bytes or types.is_fixed_size_binary(arrow_type):
        return "bytes"
    if types.is_boolean(arrow_type):
        return "boolean"
    if types.is_timestamp(arrow_type) or types.is_date(arrow_type):
        return "date"
    is_number = types.is_integer(arrow_type) or types.is_floating(arrow_type)
    if is_number or types.is_decimal(arrow_type):
        return "number"
    return "text"


def _trimmed_texts(cells: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_floating(cells.type):
        cells = pc.if_else(pc.is_finite(cells.cast(pa.float64())), cells, None)
    if pa.types.is_float16(cells.type):
        cells = cells.cast(pa.float32())
    texts = cells.cast(pa.string())
    return pc.utf8_trim_whitespace(texts)


def _without_empty(distinct: DistinctCells) -> DistinctCells:
    """Return the cells with the empty text as null."""
    empty = np.flatnonzero(np.asarray(pc.equal(distinct.texts, "")))
    if not len(empty):
        return distinct
    is_kept = np.ones(len(distinct.texts), bool)
    is_kept[empty] = False
    new_codes = np.where(is_kept, np.cumsum(is_kept) - 1, MISSING_CODE)
    # The last entry is for rows that are null already.
    lookup = np.append(new_codes, MISSING_CODE)
    texts = distinct.texts.filter(pa.array(is_kept))
    return DistinctCells(distinct.header_name, distinct.native, texts, lookup[distinct.codes])
