"""The encoder of dates: their parts, and the time that has elapsed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from creche.contract import Column
from creche.contract.dates import MAX_SECONDS, MIN_SECONDS
from creche.model.calendar import SECONDS_PER_DAY, calendar_parts
from creche.model.encoders.base import EncodedColumn, Encoder
from creche.model.graph_numbers import GraphNumber

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder

ELAPSED = "elapsed"
PARTS = ("year", "month", "weekday", "day", "hour", ELAPSED)
# Part that comes round → its period and its first value.
CYCLES = {"month": (12, 1), "weekday": (7, 0), "hour": (24, 0)}


@dataclass(frozen=True)
class DatePartsEncoder(Encoder):
    """Parts of a date: month, weekday and hour as sine and cosine; year, day of the month and the
    days since the median of the training rows less their mean, over their deviation.

    Where the column may be missing, the median takes its place, and the last input is the missing
    indicator, as of a number.
    """

    encoding = "date-parts"
    column_kind = "date"
    parts: tuple[str, ...]  # of PARTS, in the order of the inputs
    median: float  # seconds since 1970
    means: tuple[float, ...]  # of each part; 0 of one that comes round
    stds: tuple[float, ...]  # of each part; 1 of one that comes round or is constant
    takes_missing: bool = False  # whether a row without a date is known
    has_indicator: bool = False  # whether missing is an input

    @classmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        """Return the encoder of the parts that `options` state; else of those that differ between
        training rows.
        """
        is_missing = np.isnan(values)
        known = values[~is_missing]
        median = float(np.median(known))
        numbers = _numbers(known, np.floor, PARTS, median)
        parts = tuple(options.get("date_parts", ()))
        if not parts:
            varying = [part for part in PARTS if numbers[part].min() < numbers[part].max()]
            parts = tuple(varying or [ELAPSED])
        means, stds = [], []
        for part in parts:
            mean, std = (0.0, 1.0) if part in CYCLES else _moments(numbers[part])
            means.append(mean)
            stds.append(std)
        takes_missing = column.missing == "allow"
        return cls(
            name,
            parts,
            median,
            tuple(means),
            tuple(stds),
            takes_missing,
            takes_missing and bool(is_missing.any()),
        )

    @property
    def width(self) -> int:
        cycles = sum(part in CYCLES for part in self.parts)
        return len(self.parts) + cycles + self.has_indicator

    def transform(self, values: np.ndarray) -> np.ndarray:
        is_date = (values >= MIN_SECONDS) & (values <= MAX_SECONDS)
        # A row without a date is unknown or imputed, and its parts are those of the median.
        numbers = _numbers(
            np.where(is_date, values, self.median), np.floor, self.parts, self.median
        )
        inputs = []
        for part, mean, std in zip(self.parts, self.means, self.stds, strict=True):
            if part in CYCLES:
                positions = (numbers[part] - CYCLES[part][1]).astype(np.int64)
                inputs += [table[positions] for table in _circle(part)]
            else:
                inputs.append(((numbers[part] - mean) / std).astype(np.float32))
        if self.has_indicator:
            inputs.append(np.isnan(values).astype(np.float32))
        return np.stack(inputs, axis=1)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        date = graph.date_input(self.column)
        value = graph.as_row(date, f"{self.column}/value", is_double=True)
        median = graph.double_constant(f"{self.column}/median", self.median)
        smallest = graph.double_constant("min_date", MIN_SECONDS)
        largest = graph.double_constant("max_date", MAX_SECONDS)
        bounded = graph.node("Clip", [value, smallest, largest], f"{self.column}/bounded")
        is_date = graph.node("Equal", [value, bounded], f"{self.column}/is_date")
        date = graph.node("Where", [is_date, value, median], f"{self.column}/date")
        seconds = GraphNumber(graph, date, f"{self.column}/date_")
        numbers = _numbers(seconds, GraphNumber.floor, self.parts, self.median)
        inputs = []
        for part, mean, std in zip(self.parts, self.means, self.stds, strict=True):
            if part in CYCLES:
                inputs += self._add_circle(graph, part, numbers[part])
            else:
                standardized = ((numbers[part] - mean) / std).tensor
                inputs.append(graph.as_float(standardized, f"{self.column}/{part}"))
        if not self.takes_missing:
            return EncodedColumn(value, self._concat(graph, inputs), is_double=True)
        is_missing = graph.node("IsNaN", [value], f"{self.column}/is_missing")
        filled = graph.node("Where", [is_missing, median, value], f"{self.column}/filled")
        if self.has_indicator:
            inputs.append(graph.as_float(is_missing, f"{self.column}/missing_indicator"))
        return EncodedColumn(filled, self._concat(graph, inputs), is_double=True)

    def _add_circle(self, graph: "GraphBuilder", part: str, number: GraphNumber) -> list[str]:
        """Add sine and cosine of a part, which are looked up, and return the two tensors (1, N)."""
        position = graph.as_index((number - float(CYCLES[part][1])).tensor, f"{self.column}/{part}")
        tensors = []
        for function, table in zip(("sine", "cosine"), _circle(part), strict=True):
            values = graph.constant(f"{function}_of_{part}", table)
            name = f"{self.column}/{function}_of_{part}"
            tensors.append(graph.node("Gather", [values, position], name, axis=0))
        return tensors

    def _concat(self, graph: "GraphBuilder", inputs: list[str]) -> str:
        return graph.node("Concat", inputs, f"{self.column}/encoded", axis=0)


def _numbers(seconds: Any, floor: Any, parts: tuple[str, ...], median: float) -> dict[str, Any]:
    """Return part → numbers, of an array or a tensor of the graph."""
    numbers = calendar_parts(seconds, floor, parts)
    if ELAPSED in parts:
        numbers[ELAPSED] = (seconds - median) / SECONDS_PER_DAY
    return numbers


def _moments(numbers: np.ndarray) -> tuple[float, float]:
    """Return mean and deviation of training values, which is 1 where they are all the same."""
    std = float(np.std(numbers))
    return float(np.mean(numbers)), std if np.float32(std) > 0 else 1.0


def _circle(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return sine and cosine of each value of a part, as points on a circle, float32."""
    period = CYCLES[part][0]
    angles = 2 * np.pi * np.arange(period) / period
    return np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
