"""The graph without strings, which is cut out of a model file for the scoring engine."""

import onnx
from onnx import TensorProto as T
from onnx import helper as h

from creche.contract.outputs import LABEL, OUTPUTS


def encoded_graph(content: bytes) -> bytes:
    """Return the model with codes in place of strings, for the scoring engine.

    A category's input is `preprocessing/COLUMN/code`, float32 (N, 1). There is no label. What has a
    value for each class is (classes, N), as it is inside.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    text_of_code = _text_inputs(graph)
    outputs = [h.make_empty_tensor_value_info(name) for name in _encoded_outputs(graph)]
    nodes, tensors = _needed(graph, {output.name for output in outputs})
    inputs = [value for value in graph.input if value.name not in text_of_code.values()]
    for code in text_of_code:
        inputs.append(h.make_tensor_value_info(code, T.FLOAT, ["N", 1]))
    constants = [constant for constant in graph.initializer if constant.name in tensors]
    shapes = [value for value in graph.value_info if value.name in tensors]
    encoded = h.make_model(
        h.make_graph(nodes, graph.name, inputs, outputs, constants, value_info=shapes),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )
    return bytes(encoded.SerializeToString())


def _text_inputs(graph: onnx.GraphProto) -> dict[str, str]:
    """Return code → text: the tensors on both sides of each category's look-up."""
    text_of_code = {}
    for node in graph.node:
        if node.op_type == "LabelEncoder" and node.output[0] != LABEL:
            text_of_code[node.output[0]] = node.input[0]
    return text_of_code


def _encoded_outputs(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the outputs but the label, before they are transposed to (N, classes)."""
    source_of = {}
    for node in graph.node:
        if node.op_type == "Transpose":
            source_of[node.output[0]] = node.input[0]
    names = []
    for output in OUTPUTS:
        if output.name != LABEL:
            names.append(source_of[output.name] if output.is_per_class else output.name)
    return names


def _needed(graph: onnx.GraphProto, outputs: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that the outputs depend on, and the names of all tensors among them."""
    tensors = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if node.op_type != "LabelEncoder" and tensors.intersection(node.output):
            nodes.append(node)
            tensors.update(node.input)
    return nodes[::-1], tensors
