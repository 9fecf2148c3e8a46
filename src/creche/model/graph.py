"""The ONNX graph of a model file: preprocessing graph, model core and postprocessing graph."""

import numpy as np
import onnx
from onnx import compose, numpy_helper
from onnx import helper as h

from creche.contract import Contract
from creche.model.graph_builder import ML_DOMAIN, GraphBuilder
from creche.model.metadata import ModelMetadata
from creche.model.postprocessing_graph import add_postprocessing
from creche.model.preprocessing_graph import add_preprocessing
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import OodDetector

OPSET = 20
ML_OPSET = 3
IR_VERSION = 10

PREPROCESSING = "preprocessing"
CORE = "core"
POSTPROCESSING = "postprocessing"
# Output of the core. PyTorch's exporter has tensors named `embedding` of its own.
EMBEDDED = "embedded_inputs"
PARAMETER_SUFFIXES = (".weight", ".bias")


def assemble(
    core: onnx.ModelProto,
    preprocessor: Preprocessor,
    contract: Contract,
    ood_detector: OodDetector,
    threshold: float,
    decision_weights: np.ndarray | None = None,
) -> onnx.ModelProto:
    """Return the whole graph around a model core.

    Args:
        core: a graph `features` (N, width) → `logits` (N, classes), of an image `pixels` (N,
            height, width, channels) uint8 → `logits`; with a further output
            `embedded_inputs` (N, width'), ood_score is measured on that.
        preprocessor: fitted on the training rows.
        contract: of the features; its limits of numbers become part of the graph.
        ood_detector: fitted on the features, or on the embedding.
        threshold: probability from which on a class belongs to the prediction set, 0..1.
        decision_weights: factors (classes,) of the probabilities by which the label is decided on;
            None: it is the most likely class.
    """
    core = compose.add_prefix(core, f"{CORE}/")
    preprocessing = GraphBuilder(PREPROCESSING)
    postprocessing = GraphBuilder(POSTPROCESSING)
    logits = f"{CORE}/logits"
    image_encoder = preprocessor.image_encoder
    nan_where_unknown = None
    if image_encoder is None:
        tensors = add_preprocessing(preprocessing, preprocessor, contract)
        ood_features, nan_where_unknown = tensors.ood_features, tensors.nan_where_unknown
        _rename(core, f"{CORE}/features", tensors.features)
    else:
        _rename(core, f"{CORE}/pixels", image_encoder.to_onnx(preprocessing).encoded)
    embedded = f"{CORE}/{EMBEDDED}"
    if embedded in [output.name for output in core.graph.output]:
        ood_features = postprocessing.node("Transpose", [embedded], "ood_features", perm=[1, 0])
    add_postprocessing(
        postprocessing,
        logits,
        ood_features,
        nan_where_unknown,
        preprocessor.classes,
        ood_detector,
        threshold,
        decision_weights,
    )
    return _join(preprocessing, core, postprocessing)


def _rename(core: onnx.ModelProto, old: str, new: str) -> None:
    for node in core.graph.node:
        for position, tensor in enumerate(node.input):
            if tensor == old:
                node.input[position] = new


def _join(
    preprocessing: GraphBuilder, core: onnx.ModelProto, postprocessing: GraphBuilder
) -> onnx.ModelProto:
    constants = [
        *preprocessing.constants.values(),
        *core.graph.initializer,
        *postprocessing.constants.values(),
    ]
    graph = h.make_graph(
        [*preprocessing.nodes, *core.graph.node, *postprocessing.nodes],
        CORE,
        preprocessing.inputs,
        postprocessing.outputs,
        constants,
        value_info=[*preprocessing.shapes, *core.graph.value_info],
    )
    versions = {opset.domain: opset.version for opset in core.opset_import}
    versions.update({"": OPSET, ML_DOMAIN: ML_OPSET})
    opsets = [h.make_opsetid(domain, version) for domain, version in sorted(versions.items())]
    model = h.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, functions=core.functions
    )
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces: they hold paths, and differ from folder to folder."""
    graph = model.graph
    parts = (
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
        *model.functions,
    )
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    model.doc_string = ""


def serialize(model: onnx.ModelProto, metadata: ModelMetadata) -> bytes:
    """Return the file's bytes, with its metadata; the same arguments give the same bytes."""
    model.graph.name = metadata.recipe
    model.producer_name = "creche"
    h.set_model_props(model, metadata.to_properties())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def weights(content: bytes) -> dict[str, np.ndarray]:
    """Return the learned parameters of a model file by name, as the network's layers hold them."""
    parameters = {}
    for tensor in onnx.load_from_string(content).graph.initializer:
        part, _, name = tensor.name.partition("/")
        if part == CORE and name.endswith(PARAMETER_SUFFIXES):
            parameters[name] = numpy_helper.to_array(tensor)
    return parameters
