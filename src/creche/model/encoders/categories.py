"""Encoders of categories: codes of the values seen in training.

A value that was not seen has the code NaN, which marks the row as unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from creche.model.encoders.base import EncodedColumn, Encoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


@dataclass(frozen=True)
class CategoryEncoder(Encoder):
    """What both encodings of a category share: the vocabulary and its codes."""

    column_kind = "category"
    vocabulary: tuple[str, ...]  # values seen in training, sorted; a value's position is its code

    @classmethod
    def fit(cls, column: str, values: np.ndarray, options: Mapping[str, float]) -> Self:
        return cls(column, tuple(sorted(set(values))))

    @property
    def encoded_input(self) -> str:
        return f"preprocessing/{self.column}/code"

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the codes (n, 1), float32, of values (n,); NaN of an unseen one."""
        code_of = {value: code for code, value in enumerate(self.vocabulary)}
        codes = [code_of.get(value, np.nan) for value in values]
        return np.array(codes, dtype=np.float32)[:, None]

    def _add_codes(self, graph: "GraphBuilder") -> str:
        """Add the input (N, 1) and its codes, and return the name of the codes (1, N)."""
        text = graph.text_input(self.column)
        code = graph.codes_of_texts(text, self.vocabulary, f"{self.column}/code")
        return graph.as_row(code, f"{self.column}/code_row")


class OrdinalEncoder(CategoryEncoder):
    """The code itself, as one number."""

    encoding = "ordinal"

    def transform(self, values: np.ndarray) -> np.ndarray:
        return self.codes(values)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        code = self._add_codes(graph)
        return EncodedColumn(code, code)


class OneHotEncoder(CategoryEncoder):
    """One input for each value seen in training: 1 for the row's own, else 0."""

    encoding = "one-hot"

    @property
    def width(self) -> int:
        return len(self.vocabulary)

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
