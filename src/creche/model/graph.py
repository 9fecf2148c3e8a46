"""The ONNX graph of a model file: built around the network's own, and cut for the scoring
engine.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import compose, numpy_helper
from onnx import helper as h

from creche.contract import UNKNOWN
from creche.model.preprocessor import Feature, Preprocessor
from creche.model.uncertainty import OodDetector

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10


def weights(content: bytes) -> dict[str, np.ndarray]:
    """The learned parameters by name, as the network's layers hold them."""
    initializers = onnx.load_from_string(content).graph.initializer
    learned = (
        t
        for t in initializers
        if t.name.startswith("core/") and t.name.endswith((".weight", ".bias"))
    )
    return {t.name.removeprefix("core/"): numpy_helper.to_array(t) for t in learned}


def without_strings(content: bytes) -> bytes:
    """The same graph with codes for categories: inputs `front/<name>.code`, float32 `[N, 1]`, and
    no `label`; what has a value for each class is `[K, N]`, as it is inside.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    looked_up = {
        n.output[0]: n.input[0]
        for n in graph.node
        if n.op_type == "LabelEncoder" and n.output[0] != "label"
    }
    by_class = {
        o.name: len(o.type.tensor_type.shape.dim) == 2 for o in graph.output if o.name != "label"
    }
    turned = {
        n.output[0]: n.input[0]
        for n in graph.node
        if n.op_type == "Transpose" and by_class.get(n.output[0])
    }
    outputs = [h.make_empty_tensor_value_info(turned.get(name, name)) for name in by_class]
    needed, kept = {o.name for o in outputs}, []
    for node in reversed(graph.node):
        if node.op_type != "LabelEncoder" and needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    inputs = [i for i in graph.input if i.name not in looked_up.values()]
    inputs += [h.make_tensor_value_info(code, T.FLOAT, ["N", 1]) for code in looked_up]
    constants = [c for c in graph.initializer if c.name in needed]
    replacements = (
        (graph.node, kept[::-1]),
        (graph.input, inputs),
        (graph.output, outputs),
        (graph.initializer, constants),
    )
    for field, values in replacements:
        del field[:]
        field.extend(values)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def build(
    core: onnx.ModelProto,
    transform: Preprocessor,
    ood_score: OodDetector,
    threshold: float,
    metadata: Mapping[str, Any],
) -> bytes:
    """The file's bytes around `core`, a graph `features` (n, width) → `logits` (n, classes).

    For an image it is `pixels` (n, height, width, channels) uint8 → `logits`, and `embedding` (n,
    d), which ood_score is then measured on. The same arguments give the same bytes: exporters'
    stack traces and doc strings are stripped.
    """

    core.ir_version = IR_VERSION
    # Every edge gets its part's name before it, so that no column of a recipe can meet one.
    core = compose.add_prefix(core, "core/")
    back = compose.add_prefix(_back(transform, ood_score, threshold), "back/", rename_outputs=False)
    if transform.features[0].kind == "image":
        middle = compose.add_prefix(_middle(transform, len(ood_score.center)), "middle/")
        joined = compose.merge_models(
            core, middle, io_map=[(f"core/{n}", f"middle/{n}.raw") for n in ("logits", "embedding")]
        )
        joined = compose.merge_models(
            joined, back, io_map=[(f"middle/{n}", f"back/{n}") for n in ("logits", "guard", "seen")]
        )
        _name_inputs(joined, {"core/pixels": transform.features[0].name})
    else:
        front = compose.add_prefix(_front(transform), "front/")
        joined = compose.merge_models(front, core, io_map=[("front/features", "core/features")])
        joined = compose.merge_models(
            joined,
            back,
            io_map=[
                ("core/logits", "back/logits"),
                ("front/guard", "back/guard"),
                ("front/seen", "back/seen"),
            ],
        )
        _name_inputs(joined, {f"front/{f.name}.raw": f.name for f in transform.features})
    opsets = {o.domain: o.version for o in joined.opset_import}  # merge_models repeats them
    del joined.opset_import[:]
    joined.opset_import.extend(
        h.make_opsetid(domain, version) for domain, version in sorted(opsets.items())
    )
    _strip(joined)
    joined.graph.name, joined.producer_name, joined.producer_version = (
        metadata["recipe"],
        "creche",
        "",
    )
    h.set_model_props(
        joined, {f"creche.{key}": json.dumps(value) for key, value in metadata.items()}
    )
    onnx.checker.check_model(joined, full_check=True)
    return bytes(joined.SerializeToString(deterministic=True))


def _name_inputs(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for given in model.graph.input:
        given.name = names[given.name]
    for node in model.graph.node:
        for i, edge in enumerate(node.input):
            node.input[i] = names.get(edge, edge)


def _strip(model: onnx.ModelProto) -> None:
    graph = model.graph
    for part in (
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    model.doc_string = ""
    del model.metadata_props[:]


# Inside, a column is a row: with N innermost every operator runs along contiguous memory. With N
# outermost each of them costs some 10 ns a row in onnxruntime 1.31, however little it does
# (benchmarks/NOTES.md).


def _front(transform: Preprocessor) -> onnx.ModelProto:
    """Raw columns → `features` (N, width), `seen` (width, N), and `guard` (1, N): 0 where the row
    is known, else NaN.
    """
    nodes, constants, inputs, raw, encoded = [], [], [], [], []
    for feature in transform.features:
        kind = T.FLOAT if feature.kind == "number" else T.STRING
        inputs.append(h.make_tensor_value_info(f"{feature.name}.raw", kind, ["N", 1]))
        more_nodes, more_constants, ready = _encode(feature)
        nodes += more_nodes
        constants += more_constants
        raw.append(f"{feature.name}.row")
        encoded.append(ready)
    constants += [_tensor("nil", 0.0), _tensor("across", [0]), _tensor("flat", [1, -1])]
    nodes += [
        h.make_node("Concat", encoded, ["seen"], axis=0),
        h.make_node("Transpose", ["seen"], ["features"], perm=[1, 0]),
        h.make_node("Concat", raw, ["raw"], axis=0),
        h.make_node("Mul", ["raw", "nil"], ["nought"]),  # NaN and infinity times 0 are NaN
        h.make_node("ReduceSum", ["nought", "across"], ["guard"], keepdims=1),
    ]
    outputs = [
        h.make_tensor_value_info("features", T.FLOAT, ["N", transform.width]),
        h.make_tensor_value_info("seen", T.FLOAT, [transform.width, "N"]),
        h.make_tensor_value_info("guard", T.FLOAT, [1, "N"]),
    ]
    return _model(h.make_graph(nodes, "front", inputs, outputs, constants))


def _encode(feature: Feature) -> tuple[list[Any], list[Any], str]:
    """Nodes, constants, and the name of the encoded form (width, N) of one feature; its plain form
    is `<name>.row`.
    """
    name = feature.name
    row, ready = f"{name}.row", f"{name}.ready"
    if feature.kind == "number":
        constants = [_tensor(f"{name}.mean", feature.mean), _tensor(f"{name}.scale", feature.scale)]
        nodes = [
            h.make_node("Reshape", [f"{name}.raw", "flat"], [row]),
            h.make_node("Sub", [row, f"{name}.mean"], [f"{name}.centred"]),
            h.make_node("Div", [f"{name}.centred", f"{name}.scale"], [ready]),
        ]
        return nodes, constants, ready
    codes = [float(i) for i in range(len(feature.vocabulary))]
    nodes = [
        h.make_node("LabelEncoder", [f"{name}.raw"], [f"{name}.code"], domain="ai.onnx.ml", values_floats=codes,
                    keys_strings=list(feature.vocabulary), default_float=float("nan")),
        h.make_node("Reshape", [f"{name}.code", "flat"], [row]),
    ]  # fmt: skip
    if feature.kind == "ordinal":
        return nodes, [], row
    nodes += [
        h.make_node("Equal", [row, f"{name}.codes"], [f"{name}.equal"]),
        h.make_node("Cast", [f"{name}.equal"], [ready], to=T.FLOAT),
    ]
    return nodes, [_tensor(f"{name}.codes", [[c] for c in codes])], ready


def _middle(transform: Preprocessor, width: int) -> onnx.ModelProto:
    """Of an image, the network's `logits.raw` (N, classes) and `embedding.raw` (N, width) →
    `logits`, `seen` (width, N) and `guard` (1, N): 0, or NaN where the network's answer is no
    number.
    """
    count = len(transform.classes)
    nodes = [
        h.make_node("Identity", ["logits.raw"], ["logits"]),
        h.make_node("Transpose", ["embedding.raw"], ["seen"], perm=[1, 0]),
        h.make_node("ReduceSum", ["logits.raw", "last"], ["sum"], keepdims=1),
        h.make_node("Mul", ["sum", "nil"], ["nought"]),
        h.make_node("Transpose", ["nought"], ["guard"], perm=[1, 0]),
    ]
    shapes: dict[str, list[int | str]] = {
        "logits": ["N", count],
        "seen": [width, "N"],
        "guard": [1, "N"],
    }
    given: dict[str, list[int | str]] = {"logits.raw": ["N", count], "embedding.raw": ["N", width]}
    inputs, outputs = (
        [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in edges.items()]
        for edges in (given, shapes)
    )
    return _model(
        h.make_graph(nodes, "middle", inputs, outputs, [_tensor("nil", 0.0), _tensor("last", [1])])
    )


def _back(transform: Preprocessor, ood_score: OodDetector, threshold: float) -> onnx.ModelProto:
    """`logits` (N, classes), `seen` (width, N) and `guard` (1, N) → the four outputs."""
    count = len(transform.classes)
    means = ood_score.means  # (classes, width)
    nodes = [
        h.make_node("Transpose", ["logits"], ["scores"], perm=[1, 0]),  # (classes, N)
        h.make_node("ReduceMax", ["scores", "first"], ["highest"], keepdims=1),
        h.make_node("Add", ["highest", "guard"], ["known"]),
        h.make_node("MatMul", ["ones", "known"], ["known.each"]),  # a product broadcasts several times faster than Sub
        h.make_node("Sub", ["scores", "known.each"], ["below"]),  # NaN where the row is unknown, and so all that follows
        h.make_node("Exp", ["below"], ["odds"]),
        h.make_node("ReduceSum", ["odds", "first"], ["total"], keepdims=1),
        h.make_node("MatMul", ["ones", "total"], ["total.each"]),
        h.make_node("Div", ["odds", "total.each"], ["answers"]),
        h.make_node("Transpose", ["answers"], ["probabilities"], perm=[1, 0]),
        h.make_node("GreaterOrEqual", ["answers", "threshold"], ["likely"]),
        h.make_node("GreaterOrEqual", ["below", "zero"], ["top"]),
        h.make_node("Or", ["likely", "top"], ["set"]),
        h.make_node("Transpose", ["set"], ["prediction_set"], perm=[1, 0]),
        h.make_node("ArgMax", ["scores"], ["likeliest"], axis=0, keepdims=1),
        h.make_node("IsNaN", ["guard"], ["strange"]),
        h.make_node("Where", ["strange", "none", "likeliest"], ["class"]),
        h.make_node("Squeeze", ["class", "first"], ["class.flat"]),
        h.make_node("LabelEncoder", ["class.flat"], ["label"], domain="ai.onnx.ml", keys_int64s=list(range(count)),
                    values_strings=list(transform.classes), default_string=UNKNOWN),
        # |z - m|² = |z|² - 2 z·m + |m|², so that one matrix product serves all classes
        h.make_node("Sub", ["seen", "center"], ["centred"]),
        h.make_node("MatMul", ["whitening", "centred"], ["white"]),  # (width, N)
        h.make_node("Mul", ["white", "white"], ["squares"]),
        h.make_node("ReduceSum", ["squares", "first"], ["length"], keepdims=1),
        h.make_node("MatMul", ["means.twice", "white"], ["products"]),  # (classes, N)
        h.make_node("Add", ["products", "means.length"], ["offsets"]),
        h.make_node("ReduceMin", ["offsets", "first"], ["nearest"], keepdims=1),
        h.make_node("Add", ["nearest", "length"], ["distance"]),
        h.make_node("LessOrEqual", ["distance", "knots"], ["farther"]),  # (m, N)
        h.make_node("Cast", ["farther"], ["farther.one"], to=T.FLOAT),
        h.make_node("MatMul", ["steps", "farther.one"], ["share"]),
        h.make_node("Add", ["share", "guard"], ["share.known"]),
        h.make_node("Squeeze", ["share.known", "first"], ["ood_score"]),
    ]  # fmt: skip
    inputs = [
        h.make_tensor_value_info("logits", T.FLOAT, ["N", count]),
        h.make_tensor_value_info("seen", T.FLOAT, [len(ood_score.center), "N"]),
        h.make_tensor_value_info("guard", T.FLOAT, [1, "N"]),
    ]
    outputs = [
        h.make_tensor_value_info("label", T.STRING, ["N"]),
        h.make_tensor_value_info("probabilities", T.FLOAT, ["N", count]),
        h.make_tensor_value_info("ood_score", T.FLOAT, ["N"]),
        h.make_tensor_value_info("prediction_set", T.BOOL, ["N", count]),
    ]
    constants = {
        "first": [0],
        "zero": 0.0,
        "ones": np.ones((count, 1)),
        "none": np.array(-1),
        "threshold": threshold,
        "center": ood_score.center[:, None],
        "whitening": ood_score.whitening.T,
        "means.twice": -2 * means,
        "means.length": (means**2).sum(axis=1, keepdims=True),
        "knots": ood_score.knots[:, None],
        "steps": ood_score.steps[None, :],
    }
    return _model(
        h.make_graph(nodes, "back", inputs, outputs, [_tensor(n, v) for n, v in constants.items()])
    )


def _tensor(name: str, value: Any) -> onnx.TensorProto:
    array = np.asarray(value)
    return numpy_helper.from_array(
        array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64), name
    )


def _model(graph: Any) -> onnx.ModelProto:

    opsets = [h.make_opsetid("", OPSET), h.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return h.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
