"""Encoders of numbers: one column becomes one input of the network, or two.

Where the column may be missing, the median of the training rows takes its place, and a second
input, the missing indicator, is 1. Without a missing value in training nothing could be learned
from that input, so there is none.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from creche.contract import Column
from creche.model.encoders.base import EncodedColumn, Encoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder

QUARTILES = (25, 75)  # percentiles
SMOOTH_LIMIT = 3.0  # what a robustly scaled number approaches
# Beyond it a number is SMOOTH_LIMIT in float32, and its square is still finite there.
MAX_SCALED = 1e6


@dataclass(frozen=True)
class NumberEncoder(Encoder):
    """What all encodings of a number share: what is done where it is missing."""

    # In place of a missing value, in the unit of the column; None: a row without one is unknown.
    imputed: float | None = field(default=None, kw_only=True)
    has_indicator: bool = field(default=False, kw_only=True)  # whether missing is an input

    @classmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        if column.missing == "refuse":
            return cls(name, *cls.fit_parameters(values, options))
        is_missing = np.isnan(values)
        known = values[~is_missing] if is_missing.any() else values
        return cls(
            name,
            *cls.fit_parameters(known, options),
            imputed=float(np.median(known)),
            has_indicator=bool(is_missing.any()),
        )

    @classmethod
    @abstractmethod
    def fit_parameters(cls, values: np.ndarray, options: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the parameters of the scaling in their order, of training values (n,) none of
        which is missing.
        """

    @abstractmethod
    def scale(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers (n, 1), float32, as the network takes them."""

    @abstractmethod
    def add_scaling(self, graph: "GraphBuilder", numbers: str) -> str:
        """Add the same operations on a tensor (1, N), and return the name of the result."""

    @property
    def width(self) -> int:
        return 2 if self.has_indicator else 1

    def transform(self, values: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = values.astype(np.float32)[:, None]  # (n, 1)
        if self.imputed is None:
            return self.scale(numbers)
        is_missing = np.isnan(numbers)
        scaled = self.scale(np.where(is_missing, np.float32(self.imputed), numbers))
        if not self.has_indicator:
            return scaled
        return np.concatenate([scaled, is_missing.astype(np.float32)], axis=1)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        value = graph.as_row(graph.number_input(self.column), f"{self.column}/value")
        if self.imputed is None:
            return EncodedColumn(value, self.add_scaling(graph, value))
        is_missing = graph.node("IsNaN", [value], f"{self.column}/is_missing")
        imputed = graph.constant(f"{self.column}/imputed", self.imputed)
        filled = graph.node("Where", [is_missing, imputed, value], f"{self.column}/filled")
        scaled = self.add_scaling(graph, filled)
        if not self.has_indicator:
            return EncodedColumn(filled, scaled)
        indicator = graph.as_float(is_missing, f"{self.column}/missing_indicator")
        both = graph.node("Concat", [scaled, indicator], f"{self.column}/encoded", axis=0)
        return EncodedColumn(filled, both)


class PassthroughEncoder(NumberEncoder):
    """The number as it is."""

    encoding = "passthrough"

    @classmethod
    def fit_parameters(cls, values: np.ndarray, options: Mapping[str, Any]) -> tuple[float, ...]:
        return ()

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        return numbers

    def add_scaling(self, graph: "GraphBuilder", numbers: str) -> str:
        return numbers


@dataclass(frozen=True)
class DivideEncoder(NumberEncoder):
    """The number over a divisor that the recipe states."""

    encoding = "divide"
    divisor: float  # in the unit of the column

    @classmethod
    def fit_parameters(cls, values: np.ndarray, options: Mapping[str, Any]) -> tuple[float, ...]:
        return (options["divide"],)

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        return numbers / np.float32(self.divisor)

    def add_scaling(self, graph: "GraphBuilder", numbers: str) -> str:
        divisor = graph.constant(f"{self.column}/divisor", self.divisor)
        return graph.node("Div", [numbers, divisor], f"{self.column}/divided")


@dataclass(frozen=True)
class StandardizeEncoder(NumberEncoder):
    """The number less the training mean, over the training standard deviation."""

    encoding = "standardize"
    mean: float  # in the unit of the column
    std: float  # in the unit of the column; 1 where the column is constant in float32

    @classmethod
    def fit_parameters(cls, values: np.ndarray, options: Mapping[str, Any]) -> tuple[float, ...]:
        # The network's inputs are float32: a column that is constant there has nothing to scale by,
        # whatever its deviation in float64.
        is_constant = np.float32(values.min()) == np.float32(values.max())
        std = float(np.std(values))
        if is_constant or np.float32(std) == 0:
            std = 1.0
        return float(np.mean(values)), std

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        return (numbers - np.float32(self.mean)) / np.float32(self.std)

    def add_scaling(self, graph: "GraphBuilder", numbers: str) -> str:
        mean = graph.constant(f"{self.column}/mean", self.mean)
        std = graph.constant(f"{self.column}/std", self.std)
        centered = graph.node("Sub", [numbers, mean], f"{self.column}/centered")
        return graph.node("Div", [centered, std], f"{self.column}/standardized")


@dataclass(frozen=True)
class RobustEncoder(NumberEncoder):
    """The number less the training median, over the interquartile range, smoothly clipped to
    between -3 and 3: for a column with few values far from the others.

    References:
        Holzmüller, Grinsztajn and Steinwart (2024), Better by Default: Strong Pre-Tuned MLPs and
        Boosted Trees on Tabular Data, section 3.
    """

    encoding = "robust"
    median: float  # in the unit of the column
    # In the unit of the column: the interquartile range, where it is 0 half of the whole range, and
    # where that is 0 too, 1.
    spread: float

    @classmethod
    def fit_parameters(cls, values: np.ndarray, options: Mapping[str, Any]) -> tuple[float, ...]:
        low, high = np.percentile(values, QUARTILES)
        spread = float(high - low)
        if np.float32(spread) == 0:
            spread = float(values.max() / 2 - values.min() / 2)
        if np.float32(spread) == 0:
            spread = 1.0
        return float(np.median(values)), spread

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        scaled = (numbers - np.float32(self.median)) / np.float32(self.spread)
        bounded = np.clip(scaled, np.float32(-MAX_SCALED), np.float32(MAX_SCALED))
        ratio = bounded / np.float32(SMOOTH_LIMIT)
        clipped: np.ndarray = bounded / np.sqrt(np.float32(1) + ratio * ratio)
        return clipped

    def add_scaling(self, graph: "GraphBuilder", numbers: str) -> str:
        name = self.column
        median = graph.constant(f"{name}/median", self.median)
        spread = graph.constant(f"{name}/spread", self.spread)
        centered = graph.node("Sub", [numbers, median], f"{name}/centered")
        scaled = graph.node("Div", [centered, spread], f"{name}/scaled")
        smallest = graph.constant("min_scaled", -MAX_SCALED)
        largest = graph.constant("max_scaled", MAX_SCALED)
        bounded = graph.node("Clip", [scaled, smallest, largest], f"{name}/bounded")
        limit = graph.constant("smooth_limit", SMOOTH_LIMIT)
        ratio = graph.node("Div", [bounded, limit], f"{name}/ratio")
        square = graph.node("Mul", [ratio, ratio], f"{name}/square")
        sum_ = graph.node("Add", [square, graph.constant("one", 1.0)], f"{name}/one_plus_square")
        root = graph.node("Sqrt", [sum_], f"{name}/root")
        return graph.node("Div", [bounded, root], f"{name}/robust")
