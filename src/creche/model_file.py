"""The artefact: one ONNX file that takes raw columns and stands alone.

In: every feature by its canonical name, `[N, 1]`, categories as strings, numbers as float32. Out: `label` `[N]`
(string) and `probabilities` `[N, K]` (float32, in the order of the classes). A category that training never saw, NaN
and infinity answer `unknown` with NaN probabilities, never a class. Metadata under `creche.*` keys, as JSON: format,
recipe, label, contract, quarantine, transform, provenance, data.

Reading needs numpy and onnxruntime; only `build` needs onnx.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from creche.contract import Contract
from creche.errors import ModelError

if TYPE_CHECKING:
    import onnx

    from creche.transform import Feature, Transform

FORMAT = 1
UNKNOWN = "unknown"
OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
SECTIONS = ("format", "recipe", "label", "contract", "quarantine", "transform", "provenance", "data")


class Model:
    """A model file, opened for reading: checked, and ready to answer."""

    def __init__(self, path: Path, digest: str | None = None) -> None:
        """Load into onnxruntime on the CPU, with one thread for each processor of the affinity mask.

        Raises:
            ModelError: no such file, not a model of ours, or its SHA-256 is not `digest`.
        """
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror or error}") from None
        self.digest = hashlib.sha256(content).hexdigest()
        if digest and self.digest != digest:
            raise ModelError(f"{path} is not the file that was registered: SHA-256 {self.digest}, not {digest}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        try:
            self.session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ModelError(f"{path} is no model that onnxruntime can load: {str(error).splitlines()[0]}") from None
        props = self.session.get_modelmeta().custom_metadata_map
        absent = [s for s in SECTIONS if f"creche.{s}" not in props]
        if absent:
            raise ModelError(f"{path} is an ONNX model, but not one of creche's: it lacks creche.{absent[0]}")
        self.metadata: dict[str, Any] = {s: json.loads(props[f"creche.{s}"]) for s in SECTIONS}
        if self.metadata["format"] > FORMAT:
            raise ModelError(f"{path} has format {self.metadata['format']}; this creche reads up to {FORMAT}: update it")
        self.contract = Contract.from_dict(self.metadata["contract"])
        self.label: str = self.metadata["label"]
        self.classes: tuple[str, ...] = tuple(self.metadata["transform"]["classes"])
        self._answers = np.array([*self.classes, UNKNOWN], dtype=object)

    def probabilities(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities (n, classes) as float32 of rows given as columns (n,) of float64 or text; NaN: unknown."""
        feed = {
            name: np.asarray(columns[name], np.float32 if column.kind == "number" else object).reshape(-1, 1)
            for name, column in self.contract.columns.items()
        }
        return np.asarray(self.session.run(["probabilities"], feed)[0])

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """The label of each row (n,): the class of highest probability, or `unknown`."""
        sure = ~np.isnan(probabilities).any(axis=1)
        return self._answers[np.where(sure, np.where(sure[:, None], probabilities, 0).argmax(axis=1), -1)]


def weights(path: Path) -> dict[str, np.ndarray]:
    """The learned parameters by name, as the network's layers hold them."""
    import onnx
    from onnx import numpy_helper

    initializers = onnx.load(path).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in initializers if t.name.endswith((".weight", ".bias"))}


def build(core: "onnx.ModelProto", transform: "Transform", metadata: Mapping[str, Any]) -> bytes:
    """The file's bytes around `core`, a graph `features` (n, width) → `logits` (n, classes).

    The same arguments give the same bytes: exporters' stack traces and doc strings are stripped.
    """
    import onnx
    from onnx import compose
    from onnx import helper as h

    core.ir_version = IR_VERSION
    joined = compose.merge_models(_front(transform), core, io_map=[("features", "features")])
    joined = compose.merge_models(joined, _back(transform), io_map=[("logits", "logits"), ("guard", "guard")])
    opsets = {o.domain: o.version for o in joined.opset_import}  # merge_models repeats them
    del joined.opset_import[:]
    joined.opset_import.extend(h.make_opsetid(domain, version) for domain, version in sorted(opsets.items()))
    _strip(joined)
    joined.graph.name, joined.producer_name, joined.producer_version = metadata["recipe"], "creche", ""
    h.set_model_props(joined, {f"creche.{s}": json.dumps({"format": FORMAT, **metadata}[s]) for s in SECTIONS})
    onnx.checker.check_model(joined, full_check=True)
    return bytes(joined.SerializeToString(deterministic=True))


def _strip(model: "onnx.ModelProto") -> None:
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.doc_string = ""
    del model.metadata_props[:]


def _front(transform: "Transform") -> "onnx.ModelProto":
    """Raw columns → `features` (n, width), and `guard` (n, 1): 0 where the row is known, NaN elsewhere."""
    from onnx import TensorProto as T
    from onnx import helper as h

    nodes, constants, inputs, raw, encoded = [], [], [], [], []
    for feature in transform.features:
        kind = T.FLOAT if feature.kind == "number" else T.STRING
        inputs.append(h.make_tensor_value_info(feature.name, kind, ["N", 1]))
        more_nodes, more_constants, plain, ready = _encode(feature)
        nodes += more_nodes
        constants += more_constants
        raw.append(plain)
        encoded.append(ready)
    constants += [h.make_tensor("zero", T.FLOAT, [], [0.0]), h.make_tensor("axis", T.INT64, [1], [1])]
    nodes += [
        h.make_node("Concat", encoded, ["features"], axis=1),
        h.make_node("Concat", raw, ["raw"], axis=1),
        h.make_node("Mul", ["raw", "zero"], ["nought"]),  # NaN and infinity times 0 are NaN
        h.make_node("ReduceSum", ["nought", "axis"], ["guard"], keepdims=1),
    ]
    outputs = [
        h.make_tensor_value_info("features", T.FLOAT, ["N", transform.width]),
        h.make_tensor_value_info("guard", T.FLOAT, ["N", 1]),
    ]
    return _model(h.make_graph(nodes, "front", inputs, outputs, constants))


def _encode(feature: "Feature") -> tuple[list[Any], list[Any], str, str]:
    """Nodes, constants, and the names of the plain (n, 1) and the encoded (n, width) form of one feature."""
    from onnx import TensorProto as T
    from onnx import helper as h

    name = feature.name
    if feature.kind == "number":
        constants = [
            h.make_tensor(f"{name}.mean", T.FLOAT, [], [feature.mean]),
            h.make_tensor(f"{name}.scale", T.FLOAT, [], [feature.scale]),
        ]
        nodes = [
            h.make_node("Sub", [name, f"{name}.mean"], [f"{name}.centred"]),
            h.make_node("Div", [f"{name}.centred", f"{name}.scale"], [f"{name}.scaled"]),
        ]
        return nodes, constants, name, f"{name}.scaled"
    codes = [float(i) for i in range(len(feature.vocabulary))]
    look_up = h.make_node("LabelEncoder", [name], [f"{name}.code"], domain="ai.onnx.ml",
                          keys_strings=list(feature.vocabulary), values_floats=codes, default_float=float("nan"))  # fmt: skip
    if feature.kind == "index":
        return [look_up], [], f"{name}.code", f"{name}.code"
    nodes = [
        look_up,
        h.make_node("Equal", [f"{name}.code", f"{name}.codes"], [f"{name}.equal"]),
        h.make_node("Cast", [f"{name}.equal"], [f"{name}.one_hot"], to=T.FLOAT),
    ]
    return nodes, [h.make_tensor(f"{name}.codes", T.FLOAT, [1, len(codes)], codes)], f"{name}.code", f"{name}.one_hot"


def _back(transform: "Transform") -> "onnx.ModelProto":
    """`logits` (n, classes) and `guard` (n, 1) → `label` (n,) and `probabilities` (n, classes)."""
    from onnx import TensorProto as T
    from onnx import helper as h

    count = len(transform.classes)
    nodes = [
        h.make_node("Softmax", ["logits"], ["softmax"], axis=1),
        h.make_node("Add", ["softmax", "guard"], ["probabilities"]),
        h.make_node("ArgMax", ["softmax"], ["likeliest"], axis=1, keepdims=0),
        h.make_node("Squeeze", ["guard", "last"], ["guard.flat"]),
        h.make_node("IsNaN", ["guard.flat"], ["strange"]),
        h.make_node("Where", ["strange", "none", "likeliest"], ["class"]),
        h.make_node("LabelEncoder", ["class"], ["label"], domain="ai.onnx.ml", keys_int64s=list(range(count)),
                    values_strings=list(transform.classes), default_string=UNKNOWN),
    ]  # fmt: skip
    inputs = [
        h.make_tensor_value_info("logits", T.FLOAT, ["N", count]),
        h.make_tensor_value_info("guard", T.FLOAT, ["N", 1]),
    ]
    outputs = [
        h.make_tensor_value_info("label", T.STRING, ["N"]),
        h.make_tensor_value_info("probabilities", T.FLOAT, ["N", count]),
    ]
    constants = [h.make_tensor("last", T.INT64, [1], [1]), h.make_tensor("none", T.INT64, [], [-1])]
    return _model(h.make_graph(nodes, "back", inputs, outputs, constants))


def _model(graph: Any) -> "onnx.ModelProto":
    from onnx import helper as h

    opsets = [h.make_opsetid("", OPSET), h.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return h.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
