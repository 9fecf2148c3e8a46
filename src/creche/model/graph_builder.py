"""A part of an ONNX graph under construction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

ML_DOMAIN = "ai.onnx.ml"
ELEMENT_TYPES = {"string": T.STRING, "float32": T.FLOAT, "bool": T.BOOL}


class GraphBuilder:
    """Collects the inputs, nodes, constants and outputs of one part of the graph.

    Tensors are named `PART/NAME`, and those of a column `PART/COLUMN/OPERATION`, so that they
    differ from the inputs and outputs of the model file, which have their plain names.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.inputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.outputs: list[onnx.ValueInfoProto] = []
        self.shapes: list[
            onnx.ValueInfoProto
        ] = []  # of tensors inside, where they are not inferred

    def number_input(self, column: str) -> str:
        """Add an input (N, 1), float32, and return its name."""
        return self._input(column, T.FLOAT, ["N", 1])

    def date_input(self, column: str) -> str:
        """Add an input (N, 1), double, and return its name."""
        return self._input(column, T.DOUBLE, ["N", 1])

    def text_input(self, column: str) -> str:
        """Add an input (N, 1), string, and return its name."""
        return self._input(column, T.STRING, ["N", 1])

    def pixel_input(self, column: str, shape: Sequence[int]) -> str:
        """Add an input (N, height, width, channels), uint8, and return its name."""
        return self._input(column, T.UINT8, ["N", *shape])

    def _input(self, name: str, element_type: int, shape: list[str | int]) -> str:
        self.inputs.append(h.make_tensor_value_info(name, element_type, shape))
        return name

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, float32 or int64, and return the name of its tensor.

        A constant that several nodes use is added once.
        """
        tensor_name = f"{self.part}/{name}"
        if tensor_name not in self.constants:
            array = np.asarray(value)
            element_type = np.float32 if array.dtype.kind == "f" else np.int64
            tensor = numpy_helper.from_array(array.astype(element_type), tensor_name)
            self.constants[tensor_name] = tensor
        return tensor_name

    def double_constant(self, name: str, value: float) -> str:
        """Add a constant, float64, and return the name of its tensor."""
        tensor_name = f"{self.part}/{name}"
        tensor = numpy_helper.from_array(np.asarray(value, np.float64), tensor_name)
        self.constants.setdefault(tensor_name, tensor)
        return tensor_name

    def node(
        self, operator: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output, and return the name of that tensor.

        Args:
            operator: its ONNX operator.
            inputs: full names of tensors.
            name: of the output, inside this part.
            domain: of the operator.
            attributes: of the operator.
        """
        tensor_name = f"{self.part}/{name}"
        self._node(operator, inputs, tensor_name, domain, attributes)
        return tensor_name

    def output_node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: onnx.ValueInfoProto,
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Add a node whose output is one of the model file."""
        self._node(operator, inputs, output.name, domain, attributes)
        self.outputs.append(output)

    def _node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        domain: str,
        attributes: dict[str, Any],
    ) -> None:
        self.nodes.append(h.make_node(operator, inputs, [output], domain=domain, **attributes))

    def as_row(self, tensor: str, name: str, *, is_double: bool = False) -> str:
        """Add the reshaping of (N, 1) to (1, N)."""
        row = self.node("Reshape", [tensor, self.constant("row_shape", [1, -1])], name)
        # onnxruntime does not infer that the last axis is N. It then finds no buffer that it could
        # use again, and looks for one among all: 10 s for a graph of 1,000 columns.
        element_type = T.DOUBLE if is_double else T.FLOAT
        self.shapes.append(h.make_tensor_value_info(row, element_type, [1, "N"]))
        return row

    def as_float(self, tensor: str, name: str) -> str:
        """Add the cast to float32."""
        return self.node("Cast", [tensor], name, to=T.FLOAT)

    def as_index(self, tensor: str, name: str) -> str:
        """Add the cast to int64."""
        return self.node("Cast", [tensor], name, to=T.INT64)

    def codes_of_texts(
        self, tensor: str, code_by_value: Mapping[str, float], default: float, name: str
    ) -> str:
        """Add the look-up of each text's code, float32; `default` of those without one."""
        return self.node(
            "LabelEncoder",
            [tensor],
            name,
            ML_DOMAIN,
            keys_strings=list(code_by_value),
            values_floats=list(code_by_value.values()),
            default_float=default,
        )
