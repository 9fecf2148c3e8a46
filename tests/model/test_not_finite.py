"""Rows whose logits are no finite numbers: the model file predicts them as unknown."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from creche.contract import Column, Contract
from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.model.encoded_graph import encoded_graph
from creche.model.encoders import PassthroughEncoder
from creche.model.graph import IR_VERSION, OPSET, assemble
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import OodDetector

OUTPUTS = [LABEL, PROBABILITIES, OOD_SCORE, PREDICTION_SET]


@pytest.fixture(scope="module")
def content() -> bytes:
    """A model whose logits are its two features times 1e30, so that large features overflow."""
    weight = numpy_helper.from_array(1e30 * np.eye(2, dtype=np.float32), "weight")
    bias = numpy_helper.from_array(np.zeros(2, np.float32), "bias")
    core = h.make_model(
        h.make_graph(
            [h.make_node("Gemm", ["features", "weight", "bias"], ["logits"])],
            "core",
            [h.make_tensor_value_info("features", T.FLOAT, ["N", 2])],
            [h.make_tensor_value_info("logits", T.FLOAT, ["N", 2])],
            [weight, bias],
        ),
        opset_imports=[h.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 2)).astype(np.float32)
    detector = OodDetector.fit(features, (features[:, 1] > 0).astype(int), features)
    preprocessor = Preprocessor((PassthroughEncoder("x"), PassthroughEncoder("y")), ("a", "b"))
    contract = Contract({"x": Column("number"), "y": Column("number")})
    return assemble(core, preprocessor, contract, detector, 0.5).SerializeToString()


@pytest.mark.parametrize("count", [1, 2, 17, 4096])
def test_row_whose_logits_overflow_is_unknown(content: bytes, count: int) -> None:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    pairs = [(1e20, 0), (-1e20, 0), (1e20, 1e20), (1e20, -1e20), (0, 1e-30), (2e-30, 0)]
    for pair in pairs:
        values = np.tile(np.array(pair, np.float32), (count, 1))
        feed = {"x": values[:, :1], "y": values[:, 1:]}
        label, probabilities, ood_score, sets = session.run(OUTPUTS, feed)
        is_known = max(np.abs(pair)) < 1
        assert set(label) == ({"b" if pair[1] else "a"} if is_known else {"unknown"})
        assert (np.isnan(probabilities) != is_known).all()
        assert (np.isnan(ood_score) != is_known).all()
        assert (sets.any(axis=1) == is_known).all()


def test_graph_without_strings_has_the_same_bits(content: bytes) -> None:
    values = np.float32([[1e20, 0], [0, 1e-30], [-1e20, 0], [1, np.nan], [3e38, -3e38]])
    feed = {"x": values[:, :1], "y": values[:, 1:]}
    whole = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    encoded = ort.InferenceSession(encoded_graph(content), providers=["CPUExecutionProvider"])
    probabilities, ood_score, sets = whole.run(OUTPUTS[1:], feed)
    of_encoded = encoded.run(None, feed)
    assert of_encoded[0].T.tobytes() == probabilities.tobytes()
    assert of_encoded[1].tobytes() == ood_score.tobytes()
    assert (sets == of_encoded[2].T).all()
