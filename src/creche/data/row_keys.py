"""The key of a row: what makes two rows one observation, whatever file carries them.

A number is compared as the model sees it, in float32, but a whole number exactly; a text in its
canonical spelling (`creche.contract.cells`); a time by its microseconds; an image by its pixels. So
the same rows as CSV, JSON or Parquet of any number type have the same keys.

A key is a text, made of the parts of its columns as Python's `repr` writes them. Arrow writes the
usual ones, block by block, and each distinct key of a block is hashed once.
"""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.decimals import shortest_decimals

# Of the keys and hashes below. Models whose hashes have another format cannot be compared.
ROW_KEY_FORMAT = 2
HASH_BYTES = 8  # of the SHA-256
SEPARATOR = "\x1f"  # between the parts of a row key
MISSING_PART = "None"
BLOCK_ROWS = 65_536  # whose keys are in memory at once
BINARY_BLOCK_ROWS = 256  # the same where cells are images
# Texts that `repr` puts between apostrophes and does not change.
PLAIN_TEXT = r"^[ -&(-\[\]-~]*$"
# Numbers between these are written without an exponent by Arrow and Python alike.
SMALLEST_PLAIN = 1e-4
LARGEST_PLAIN = 1e15


def hash_rows(columns: list[pa.Array | pa.ChunkedArray], seed: int) -> np.ndarray:
    """Return the hash of each row's key (n,), uint64: the first 64 bits of the SHA-256 of a seed
    and the key.

    Args:
        columns: converted columns of n rows.
        seed: another one gives other hashes.
    """
    prefix = pa.scalar(str(seed))
    hashes = [np.zeros(0, np.uint64)]
    for keys in key_blocks(columns):
        encoded = pc.binary_join_element_wise(prefix, keys, SEPARATOR).dictionary_encode()
        hashes.append(_hash_texts(encoded.dictionary)[np.asarray(encoded.indices)])
    return np.concatenate(hashes)


def key_blocks(columns: list[pa.Array | pa.ChunkedArray]) -> Iterator[pa.Array]:
    """Yield the keys of consecutive rows, as texts."""
    table = pa.table(columns, names=[str(position) for position in range(len(columns))])
    has_images = any(_is_binary(column.type) for column in columns)
    block_rows = BINARY_BLOCK_ROWS if has_images else BLOCK_ROWS
    for start in range(0, table.num_rows, block_rows):
        block = table.slice(start, block_rows).combine_chunks()
        parts = [_key_parts(column) for column in block.columns]
        yield pc.binary_join_element_wise(*parts, SEPARATOR)


def _is_binary(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_fixed_size_binary(arrow_type)
        or pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
    )


def _key_parts(column: pa.ChunkedArray) -> pa.Array:
    """Return the part of each row (n,) that one column gives; each distinct one is written once."""
    cells = column.combine_chunks()
    if _is_binary(cells.type):
        return _written_by_python(cells)
    if not pa.types.is_dictionary(cells.type):
        if pa.types.is_timestamp(cells.type):
            cells = cells.cast(pa.timestamp("us", cells.type.tz)).cast(pa.int64())
        cells = cells.dictionary_encode()
    distinct = cells.dictionary
    if pa.types.is_floating(distinct.type):
        texts = _number_parts(distinct)
    elif pa.types.is_string(distinct.type):
        texts = _text_parts(distinct)
    else:
        texts = _written_by_python(distinct)
    return pc.fill_null(texts.take(cells.indices), MISSING_PART)


def _written_by_python(values: pa.Array) -> pa.Array:
    parts = [MISSING_PART if value is None else repr(value) for value in values.to_pylist()]
    return pa.array(parts, pa.string())


def _text_parts(texts: pa.Array) -> pa.Array:
    parts = pc.binary_join_element_wise("'", texts, "'", "")
    is_unusual = pc.fill_null(pc.invert(pc.match_substring_regex(texts, PLAIN_TEXT)), False)
    return _with_unusual(parts, texts, is_unusual)


def _number_parts(numbers: pa.Array) -> pa.Array:
    values = _as_the_model_sees_them(numbers)
    seen = pa.array(values, from_pandas=True)  # NaN becomes null
    sizes = np.abs(values)
    is_whole = values == np.rint(values)
    is_plain = (is_whole | (sizes >= SMALLEST_PLAIN)) & (sizes < LARGEST_PLAIN)
    digits = seen.cast(pa.string())
    whole = pa.array(np.where(is_plain & is_whole, values, 0).astype(np.int64)).cast(pa.string())
    with_fraction = pc.binary_join_element_wise(whole, "0", ".")
    parts = pc.if_else(pa.array(is_whole), with_fraction, digits)
    return _with_unusual(parts, seen, pa.array(~is_plain & np.isfinite(values)))


def _with_unusual(parts: pa.Array, values: pa.Array, is_unusual: pa.Array) -> pa.Array:
    """Return parts with those of unusual values written by Python, and null for a missing value."""
    if pc.any(is_unusual).as_py():
        unusual = _written_by_python(values.filter(is_unusual))
        parts = pc.replace_with_mask(parts, is_unusual, unusual)
    return pc.if_else(values.is_valid(), parts, None)


def _as_the_model_sees_them(numbers: pa.Array) -> np.ndarray:
    """Return numbers as the shortest decimals of their float32; whole numbers as they are, and NaN
    for a missing one.
    """
    exact = numbers.to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
    seen: np.ndarray = exact.copy()
    has_fraction = np.isfinite(exact) & (exact != np.rint(exact))
    seen[has_fraction] = shortest_decimals(exact[has_fraction].astype(np.float32))
    # -0.0 + 0.0 is 0.0.
    seen += 0.0
    return seen


def _hash_texts(texts: pa.Array) -> np.ndarray:
    """Return the first 64 bits of the SHA-256 of each text (n,)."""
    texts = pa.concat_arrays([texts])  # without an offset
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[: len(texts) + 1].tolist()
    content = memoryview(data or b"")
    digests = []
    for start, end in pairwise(offsets):
        digests.append(hashlib.sha256(content[start:end]).digest()[:HASH_BYTES])
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
