"""Arithmetic that is written as with numpy arrays, and becomes nodes of a graph."""

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


class GraphNumber:
    """A tensor of doubles in a graph under construction.

    Each operation adds a node to the graph, and gives what numpy gives with float64.
    """

    def __init__(self, graph: "GraphBuilder", tensor: str, prefix: str) -> None:
        """Take a tensor of the graph.

        Args:
            graph: under construction.
            tensor: its full name.
            prefix: of the names of the nodes, which are numbered.
        """
        self.graph = graph
        self.tensor = tensor
        self._prefix = prefix
        self._numbers = count()

    def __add__(self, other: "GraphNumber | float") -> "GraphNumber":
        return self._combined("Add", other)

    def __sub__(self, other: "GraphNumber | float") -> "GraphNumber":
        return self._combined("Sub", other)

    def __mul__(self, other: "GraphNumber | float") -> "GraphNumber":
        return self._combined("Mul", other)

    def __truediv__(self, other: "GraphNumber | float") -> "GraphNumber":
        return self._combined("Div", other)

    def floor(self) -> "GraphNumber":
        """Return the number rounded down."""
        return self._result("Floor", [self.tensor])

    def _combined(self, operator: str, other: "GraphNumber | float") -> "GraphNumber":
        if isinstance(other, GraphNumber):
            return self._result(operator, [self.tensor, other.tensor])
        constant = self.graph.double_constant(f"double_{other!r}", other)
        return self._result(operator, [self.tensor, constant])

    def _result(self, operator: str, inputs: list[str]) -> "GraphNumber":
        name = f"{self._prefix}{next(self._numbers)}"
        result = GraphNumber(self.graph, self.graph.node(operator, inputs, name), self._prefix)
        # All numbers of one computation share the numbering.
        result._numbers = self._numbers
        return result
