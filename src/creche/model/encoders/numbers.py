"""Encoders of numbers: one column becomes one input of the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from creche.model.encoders.base import EncodedColumn, Encoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


class PassthroughEncoder(Encoder):
    """The number as it is."""

    encoding = "passthrough"

    @classmethod
    def fit(cls, column: str, values: np.ndarray, options: Mapping[str, float]) -> Self:
        return cls(column)

    def transform(self, values: np.ndarray) -> np.ndarray:
        return _as_float32(values)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        value = _add_input(graph, self.column)
        return EncodedColumn(value, value)


@dataclass(frozen=True)
class DivideEncoder(Encoder):
    """The number over a divisor that the recipe states."""

    encoding = "divide"
    divisor: float  # in the unit of the column

    @classmethod
    def fit(cls, column: str, values: np.ndarray, options: Mapping[str, float]) -> Self:
        return cls(column, options["divide"])

    def transform(self, values: np.ndarray) -> np.ndarray:
        return _as_float32(values) / np.float32(self.divisor)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        value = _add_input(graph, self.column)
        divisor = graph.constant(f"{self.column}/divisor", self.divisor)
        divided = graph.node("Div", [value, divisor], f"{self.column}/divided")
        return EncodedColumn(value, divided)


@dataclass(frozen=True)
class StandardizeEncoder(Encoder):
    """The number less the training mean, over the training standard deviation."""

    encoding = "standardize"
    mean: float  # in the unit of the column
    std: float  # in the unit of the column; 1 where the column is constant in float32

    @classmethod
    def fit(cls, column: str, values: np.ndarray, options: Mapping[str, float]) -> Self:
        # The network's inputs are float32: a column that is constant there has nothing to scale by,
        # whatever its deviation in float64.
        is_constant = np.float32(values.min()) == np.float32(values.max())
        std = float(np.std(values))
        if is_constant or np.float32(std) == 0:
            std = 1.0
        return cls(column, float(np.mean(values)), std)

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (_as_float32(values) - np.float32(self.mean)) / np.float32(self.std)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        value = _add_input(graph, self.column)
        mean = graph.constant(f"{self.column}/mean", self.mean)
        std = graph.constant(f"{self.column}/std", self.std)
        centered = graph.node("Sub", [value, mean], f"{self.column}/centered")
        standardized = graph.node("Div", [centered, std], f"{self.column}/standardized")
        return EncodedColumn(value, standardized)


def _as_float32(values: np.ndarray) -> np.ndarray:
    single: np.ndarray = values.astype(np.float32)[:, None]  # (n, 1)
    return single


def _add_input(graph: "GraphBuilder", column: str) -> str:
    """Add the input (N, 1), and return the name of its values (1, N)."""
    return graph.as_row(graph.number_input(column), f"{column}/value")
