"""A digest of the rows of a table, in whatever order they come."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)  # digits of pi
MISSING = np.uint64(0xA4093822299F31D0)  # in place of the bits of a missing value
DIGEST_BYTES = 16


class RowsDigest:
    """128 bits over the columns of a table, and over its rows as a multiset.

    Each row is hashed by itself, and the hashes are added up, so that their order does not count
    and one row more or less does. It tells changes apart, and does not protect against someone who
    builds rows for a collision.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [f"{field.name}: {field.type}" for field in schema]
        self._rows = 0
        self._sums = [0] * len(SEEDS)

    def add(self, cells: pa.RecordBatch) -> None:
        """Add some rows."""
        self._rows += cells.num_rows
        hashes = [np.full(cells.num_rows, seed, np.uint64) for seed in SEEDS]
        for column in cells.columns:
            bits = _bits(column)
            for position in range(len(SEEDS)):
                hashes[position] = _mixed(hashes[position] ^ _mixed(bits[:, position]))
        for position in range(len(SEEDS)):
            total = self._sums[position] + int(hashes[position].sum(dtype=np.uint64))
            self._sums[position] = total % 2**64

    def hexdigest(self) -> str:
        """Return the digest of all rows that were added."""
        content = json.dumps([self._columns, self._rows, self._sums])
        return hashlib.blake2b(content.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return 64 bits (n,) of which each depends on all of `values` (n,): splitmix64."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return result


def _bits(column: pa.Array) -> np.ndarray:
    """Return 128 bits of each cell (n, 2), equal for equal cells."""
    arrow_type = column.type
    if pa.types.is_floating(arrow_type):
        # -0.0 + 0.0 is 0.0, and NaN is one of many bit patterns.
        values = np.asarray(column.cast(pa.float64()).fill_null(0.0)) + 0.0
        values[np.isnan(values)] = np.nan
        bits = np.repeat(values.view(np.uint64)[:, None], 2, axis=1)
    elif _is_fixed(arrow_type):
        integers = np.asarray(_as_integers(column).fill_null(0)).astype(np.int64)
        bits = np.repeat(integers.view(np.uint64)[:, None], 2, axis=1)
    else:
        bits = _text_bits(column)
    bits[np.asarray(pc.is_null(column))] = MISSING
    return bits


def _is_fixed(arrow_type: pa.DataType) -> bool:
    is_number = pa.types.is_integer(arrow_type) or pa.types.is_boolean(arrow_type)
    return bool(is_number or (pa.types.is_temporal(arrow_type) and arrow_type.bit_width <= 64))


def _as_integers(column: pa.Array) -> pa.Array:
    if pa.types.is_uint64(column.type):
        return column.view(pa.int64())
    if column.type.bit_width == 32 and pa.types.is_temporal(column.type):
        return column.view(pa.int32())
    if pa.types.is_temporal(column.type):
        return column.view(pa.int64())
    return column.cast(pa.int64())


def _text_bits(column: pa.Array) -> np.ndarray:
    if pa.types.is_nested(column.type):
        texts = [json.dumps(cell, default=str) for cell in column.to_pylist()]
        column = pa.array(texts, pa.string())
    elif not pa.types.is_string(column.type) and not pa.types.is_binary(column.type):
        column = column.cast(pa.string())
    encoded = column.dictionary_encode()
    digests = bytearray()
    for cell in encoded.dictionary.to_pylist():
        content = cell if isinstance(cell, bytes) else str(cell).encode()
        digests += hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    # The last one is of missing cells, which get others.
    digests += bytes(DIGEST_BYTES)
    of_value = np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)
    bits: np.ndarray = of_value[np.asarray(encoded.indices.fill_null(len(encoded.dictionary)))]
    return bits.copy()
