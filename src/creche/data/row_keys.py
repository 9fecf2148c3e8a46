"""The key of a row: what makes two rows one observation, whatever file carries them.

A number is compared as the model sees it, in float32, but a whole number exactly; a text in its
canonical spelling (`creche.contract.cells`); an image by its pixels. So the same rows as CSV, JSON
or Parquet of any number type have the same keys.
"""

import hashlib

import numpy as np
import pyarrow as pa

from creche.contract.decimals import shortest_decimals

# Of the keys and hashes below. Models whose hashes have another format cannot be compared.
ROW_KEY_FORMAT = 2
HASH_BYTES = 8  # of the SHA-256
SEPARATOR = "\x1f"  # between the parts of a row key

RowKey = tuple[str | None, ...]


def row_keys(columns: list[pa.Array | pa.ChunkedArray]) -> list[RowKey]:
    """Return the key of each row (n,) of converted columns; None stands for a missing value."""
    parts = [_key_parts(column) for column in columns]
    return list(zip(*parts, strict=True))


def _key_parts(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        values = _as_the_model_sees_them(column)
    return [None if value is None else repr(value) for value in values]


def _as_the_model_sees_them(column: pa.Array | pa.ChunkedArray) -> list[float | None]:
    """Return numbers as the shortest decimals of their float32; whole numbers as they are."""
    exact = column.to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
    is_whole = np.isfinite(exact) & (exact == np.rint(exact))
    decimals = shortest_decimals(exact.astype(np.float32))
    # -0.0 + 0.0 is 0.0.
    numbers = np.where(is_whole, exact, decimals) + 0.0
    return [None if np.isnan(number) else number for number in numbers.tolist()]


def hash_row_key(key: RowKey, seed: int) -> int:
    """Return the first 64 bits of the SHA-256 of a seed and a row key."""
    text = SEPARATOR.join([str(seed), *map(str, key)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:HASH_BYTES], "big")
