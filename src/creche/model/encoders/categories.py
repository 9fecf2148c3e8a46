"""Encoders of categories: codes of the values seen in training.

A value that the model does not take has the code NaN, which marks the row as unknown. Where the
recipe allows it, a rare or unseen value is `other`, and a missing one a value of its own:
docs/concepts/artifact.md states which inputs they become.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from creche.contract import Column
from creche.contract.cells import MISSING_TEXT
from creche.model.encoders.base import EncodedColumn, Encoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


@dataclass(frozen=True)
class CategoryEncoder(Encoder):
    """What all encodings of a category share: the vocabulary and the codes.

    The codes are the positions in the vocabulary, then `other`, then missing, as far as training
    has rows of them, and last the code of what is known but was not in training.
    """

    column_kind = "category"
    vocabulary: tuple[str, ...]  # values with a code of their own, which is their position
    pooled: tuple[str, ...] = ()  # rarer values of training, which are `other`
    takes_unseen: bool = False  # whether any further value is `other`, and no unknown row
    takes_missing: bool = False  # whether a missing value is known
    has_other: bool = False  # whether training has rows of `other`
    has_missing: bool = False  # whether training has rows with a missing value

    @property
    def n_codes(self) -> int:
        """How many codes training has rows of."""
        return len(self.vocabulary) + self.has_other + self.has_missing

    @property
    def other_code(self) -> int:
        """The code of a pooled value, and of an unseen one that is `other`."""
        return len(self.vocabulary) if self.has_other else self.n_codes

    @property
    def missing_code(self) -> int:
        """The code of a missing value that is known."""
        return self.n_codes - 1 if self.has_missing else self.n_codes

    @property
    def unseen_code(self) -> float:
        """The code of a value that has none in `code_by_value`; NaN: the row is unknown."""
        return float(self.other_code) if self.takes_unseen else float("nan")

    @cached_property
    def code_by_value(self) -> Mapping[str, float]:
        """The codes of all values that are listed, the missing one among them where it is."""
        codes = dict.fromkeys(self.pooled, float(self.other_code))
        if self.takes_missing:
            codes[MISSING_TEXT] = float(self.missing_code)
        elif self.takes_unseen:
            # A missing value is none that training has not seen.
            codes[MISSING_TEXT] = float("nan")
        for code, value in enumerate(self.vocabulary):
            codes[value] = float(code)
        return codes

    def takes(self, value: str) -> bool:
        """Whether a row with this value can be known."""
        return not np.isnan(self.code_by_value.get(value, self.unseen_code))

    @property
    def encoded_input(self) -> str:
        return f"preprocessing/{self.column}/code"

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the codes (n, 1), float32, of values (n,); NaN where the row is unknown."""
        code_by_value, unseen_code = self.code_by_value, self.unseen_code
        codes = [code_by_value.get(value, unseen_code) for value in values]
        return np.array(codes, dtype=np.float32)[:, None]

    def _add_codes(self, graph: "GraphBuilder") -> str:
        """Add the input (N, 1) and its codes, and return the name of the codes (1, N)."""
        text = graph.text_input(self.column)
        name = f"{self.column}/code"
        code = graph.codes_of_texts(text, self.code_by_value, self.unseen_code, name)
        return graph.as_row(code, f"{self.column}/code_row")


@dataclass(frozen=True)
class PooledEncoder(CategoryEncoder):
    """An encoding whose values have no order, so that the rare ones can be pooled as `other`."""

    @classmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        """Return the encoder fitted on training values.

        Args:
            name: of the column.
            values: (n,) text.
            options: `min_rows` of training for a code of its own, and `max_values` that have one.
            column: what the recipe states of it.
        """
        takes_missing = column.missing == "allow"
        takes_unseen = column.unseen == "other"
        rows_by_value = Counter(values.tolist())
        missing_rows = rows_by_value.pop(MISSING_TEXT, 0) if takes_missing else 0
        frequent = _most_frequent(rows_by_value, options)
        rare = sorted(rows_by_value.keys() - set(frequent))
        return cls(
            name,
            tuple(sorted(frequent)),
            # Where an unseen value is `other`, the rare ones need not be listed.
            pooled=() if takes_unseen else tuple(rare),
            takes_unseen=takes_unseen,
            takes_missing=takes_missing,
            has_other=bool(rare),
            has_missing=bool(missing_rows),
            **cls.own_fields(options),
        )

    @classmethod
    def own_fields(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the encoding has beside those of `CategoryEncoder`."""
        return {}


def _most_frequent(rows_by_value: Mapping[str, int], options: Mapping[str, Any]) -> list[str]:
    """Return the values with enough rows, the most frequent of them where there are too many."""
    min_rows = options.get("min_rows", 1)
    enough = [value for value, rows in rows_by_value.items() if rows >= min_rows]
    enough.sort(key=lambda value: (-rows_by_value[value], value))
    return enough[: options.get("max_values")]


class OneHotEncoder(PooledEncoder):
    """One input for each code that training has rows of: 1 for the row's own, else 0."""

    encoding = "one-hot"

    @property
    def width(self) -> int:
        return self.n_codes

    def transform(self, values: np.ndarray) -> np.ndarray:
        all_codes = np.arange(self.width, dtype=np.float32)
        one_hot: np.ndarray = (self.codes(values) == all_codes).astype(np.float32)  # (n, width)
        return one_hot

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        code = self._add_codes(graph)
        column_vector = np.arange(self.width, dtype=np.float32)[:, None]  # (width, 1)
        all_codes = graph.constant(f"{self.column}/all_codes", column_vector)
        is_code = graph.node("Equal", [code, all_codes], f"{self.column}/is_code")
        one_hot = graph.as_float(is_code, f"{self.column}/one_hot")
        return EncodedColumn(code, one_hot)


@dataclass(frozen=True)
class EmbeddingEncoder(PooledEncoder):
    """The code, which the network takes as the row of a table of learned vectors.

    What is known but was not in training has the last code, whose vector is 0.

    References:
        Guo and Berkhahn (2016), Entity Embeddings of Categorical Variables.
    """

    encoding = "embedding"
    dimension: int = 1  # numbers of a vector

    @classmethod
    def own_fields(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"dimension": options["width"]}

    def transform(self, values: np.ndarray) -> np.ndarray:
        codes = self.codes(values)
        # The code of an unknown row must be one of the table too.
        return np.where(np.isnan(codes), np.float32(self.n_codes), codes)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        code = self._add_codes(graph)
        is_unknown = graph.node("IsNaN", [code], f"{self.column}/is_unknown")
        last_code = graph.constant(f"{self.column}/last_code", float(self.n_codes))
        inside = graph.node("Where", [is_unknown, last_code, code], f"{self.column}/table_row")
        return EncodedColumn(code, inside)
