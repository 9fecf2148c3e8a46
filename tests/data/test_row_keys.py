"""The hash of a row: computed for whole columns, it is that of the definition, one by one."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creche.contract.decimals import shortest_decimals
from creche.data import row_keys
from creche.data.row_keys import hash_rows, key_blocks

SEED = 7
NUMBERS = st.floats(-3e38, 3e38) | st.integers(-(2**60), 2**60).map(float) | st.none()
TEXTS = st.text() | st.sampled_from(["None", "it's", 'a"b', "both'\"", "\\", "\x1f", "é"])
ROWS = st.lists(st.tuples(NUMBERS, TEXTS | st.none()), max_size=30)


def expected_hash(row: tuple[Any, ...]) -> int:
    """Return the hash of one row as it is defined: SHA-256 of seed and parts."""
    parts = []
    for value in row:
        if isinstance(value, float) and not value.is_integer():
            value = float(shortest_decimals(np.array([value], np.float32))[0])
        # -0.0 + 0.0 is 0.0.
        parts.append(repr(value + 0.0 if isinstance(value, float) else value))
    text = "\x1f".join([str(SEED), *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@given(ROWS)
def test_hash_of_each_row_is_that_of_its_seed_and_values(rows: list[tuple[Any, ...]]) -> None:
    numbers = pa.array([number for number, _ in rows], pa.float64())
    texts = pa.array([text for _, text in rows], pa.string())
    expected = [expected_hash(row) for row in rows]
    assert hash_rows([numbers, texts], SEED).tolist() == expected
    assert hash_rows([numbers, texts.dictionary_encode()], SEED).tolist() == expected


def test_hash_of_pixels_is_that_of_their_bytes() -> None:
    pixels = [bytes([shade] * 12) for shade in range(20)]
    expected = [expected_hash((content,)) for content in pixels]
    assert hash_rows([pa.array(pixels, pa.binary(12))], SEED).tolist() == expected


@pytest.mark.parametrize("block_rows", [1, 7, 1000])
def test_blocks_change_no_hash(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = pa.chunked_array([pa.array(np.arange(40) / 8), pa.array([None, 0.5])])
    texts = pa.array([f"town {row % 5}" for row in range(42)])
    expected = hash_rows([numbers, texts], SEED)
    monkeypatch.setattr(row_keys, "BLOCK_ROWS", block_rows)
    assert hash_rows([numbers, texts], SEED).tolist() == expected.tolist()


def test_time_in_any_unit_has_one_key() -> None:
    microseconds = pa.array([0, 1_500_000, None], pa.timestamp("us", "UTC"))
    milliseconds = pa.array([0, 1_500, None], pa.timestamp("ms", "UTC"))
    keys = [keys.to_pylist() for keys in key_blocks([microseconds])]
    assert keys == [["0", "1500000", "None"]]
    assert hash_rows([milliseconds], 0).tolist() == hash_rows([microseconds], 0).tolist()
