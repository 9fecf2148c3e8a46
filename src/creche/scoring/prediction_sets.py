"""Prediction sets as a column of text."""

import numpy as np
import pyarrow as pa

from creche.scoring.categories import text_array

SEPARATOR = "|"
MAX_LISTED_CLASSES = 7  # the bits of so many classes are a code of int8


class PredictionSetColumn:
    """Writes prediction sets as text: the classes of a set, joined by `|`.

    With few classes the column is a dictionary of all possible sets. With more it is plain text, of
    which each set that occurs in a block is written once and copied to its rows.

    Attributes:
        arrow_type: the type of the column.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.arrow_type = pa.string()
        self._all_sets: pa.Array | None = None
        if len(classes) <= MAX_LISTED_CLASSES:
            self.arrow_type = pa.dictionary(pa.int8(), pa.string())
            self._all_sets = self._list_all_sets()

    def _list_all_sets(self) -> pa.Array:
        """Return every set of classes, at the position that its bits are as a number."""
        codes = np.arange(1 << len(self.classes))
        is_in_set = (codes[:, None] >> np.arange(len(self.classes)) & 1).astype(bool)
        return text_array([self._join(row) for row in is_in_set])

    def _join(self, is_in_set: np.ndarray) -> str:
        return SEPARATOR.join(self.classes[i] for i in np.flatnonzero(is_in_set))

    def encode(self, sets: np.ndarray) -> pa.Array:
        """Return sets (n, classes) as a column (n)."""
        if self._all_sets is None:
            return self._encode_distinct(sets)
        # One bit a class: a few vector operations for all rows.
        codes = np.zeros(len(sets), np.int8)
        for position, is_in_set in enumerate(sets.T):  # (n,) of one class
            codes |= is_in_set.view(np.int8) << position
        return pa.DictionaryArray.from_arrays(pa.array(codes), self._all_sets)

    def _encode_distinct(self, sets: np.ndarray) -> pa.Array:
        # The bits of a row are one key, and few keys are distinct.
        packed = np.packbits(sets, axis=1)  # (n, bytes)
        width = packed.shape[1]
        buffers = [None, pa.py_buffer(packed)]
        keys = pa.Array.from_buffers(pa.binary(width), len(packed), buffers).dictionary_encode()
        texts = []
        for key in keys.dictionary.to_pylist():
            bits = np.unpackbits(np.frombuffer(key, np.uint8), count=len(self.classes))
            texts.append(self._join(bits))
        return text_array(texts).take(keys.indices)
