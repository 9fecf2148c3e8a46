"""What all encoders have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from creche.contract import Column
from creche.contract.json_types import check_json

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


@dataclass(frozen=True)
class EncodedColumn:
    """Names of the tensors that an encoder adds to the preprocessing graph.

    Inside the graph the rows lie along the last axis.
    """

    value: str  # (1, N): the number, or the code; NaN where the row is unknown
    encoded: str  # (width, N) float32
    is_double: bool = False  # whether the value is float64, and not float32


@dataclass(frozen=True)
class Encoder(ABC):
    """One raw column on its way into the network.

    A subclass with fields of its own is a frozen dataclass; one without inherits from this.

    Attributes:
        encoding: its name in a recipe and in JSON.
        column_kind: of the columns that it encodes.
        column: canonical name of the column.
    """

    encoding: ClassVar[str]
    column_kind: ClassVar[str] = "number"
    column: str

    @classmethod
    @abstractmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        """Return the encoder fitted on training values.

        Args:
            name: canonical name of the column.
            values: (n,) float64 or text, NaN or empty where missing, or (n, height, width,
                channels) uint8; one value at least is not missing.
            options: what the recipe states beside the name of the encoding.
            column: what the recipe states of it, such as whether it may be missing.
        """

    @abstractmethod
    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the network's inputs (n, width), float32, of values (n,).

        The operations are those of the ONNX graph, in the same order and precision.
        """

    @abstractmethod
    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        """Add the column's input, and the nodes that encode it, to the preprocessing graph."""

    @property
    def width(self) -> int:
        """Inputs of the network that the column becomes."""
        return 1

    @property
    def encoded_input(self) -> str:
        """Name of the column's input in the graph without strings; see `encoded_graph`."""
        return self.column

    def encoded_array(self, values: np.ndarray) -> np.ndarray:
        """Return numbers or codes (n,) as that input: (n, 1)."""
        return values.reshape(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as JSON."""
        return {"encoding": self.encoding, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Return the encoder that `to_dict` wrote.

        Raises:
            ValueError: a key is unknown, missing, or of another type.
        """
        stated = {key: argument for key, argument in value.items() if key != "encoding"}
        check_json(stated, cls, f"the {cls.encoding} encoder")
        arguments: dict[str, Any] = {}
        for key, argument in stated.items():
            arguments[key] = tuple(argument) if isinstance(argument, list) else argument
        return cls(**arguments)
