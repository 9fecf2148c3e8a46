"""Encoders: numpy and ONNX give the same numbers, and JSON gives the same encoder."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

from creche.contract import Column, Contract
from creche.errors import DataError
from creche.model.encoders import (
    ENCODERS,
    CategoryEncoder,
    DivideEncoder,
    Encoder,
    ImageEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    PassthroughEncoder,
    StandardizeEncoder,
)
from creche.model.graph import IR_VERSION, ML_OPSET, OPSET
from creche.model.graph_builder import ML_DOMAIN, GraphBuilder
from creche.model.preprocessor import Preprocessor
from creche.recipe import Scale

NUMBER = Column("number")
CATEGORY = Column("category")
finite_numbers = st.floats(-1e6, 1e6, width=32)
any_numbers = st.floats(width=32)  # NaN and infinity too
# Without control characters and surrogates, which no reader gives.
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8)


def run_onnx(encoder: Encoder, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the encoder's graph gives for values (n,): encoded (n, width), and value (n,)."""
    graph = GraphBuilder("preprocessing")
    column = encoder.to_onnx(graph)
    # An encoding may be the value itself, and ONNX wants every output once.
    encoded = graph.node("Identity", [column.encoded], "encoded")
    value = graph.node("Identity", [column.value], "value")
    model = h.make_model(
        h.make_graph(
            graph.nodes,
            "encoder",
            graph.inputs,
            [
                h.make_tensor_value_info(encoded, T.FLOAT, [encoder.width, "N"]),
                h.make_tensor_value_info(value, T.FLOAT, [1, "N"]),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[h.make_opsetid("", OPSET), h.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    element_type = object if isinstance(encoder, CategoryEncoder) else np.float32
    feed = {encoder.column: values.astype(element_type).reshape(-1, 1)}
    encoded_rows, value_row = session.run([encoded, value], feed)
    return encoded_rows.T, value_row[0]


def assert_same_numbers(encoder: Encoder, values: np.ndarray) -> None:
    # Infinity less infinity, and values beyond float32, are NaN and infinity in both.
    with np.errstate(all="ignore"):
        expected = encoder.transform(values)
    actual, value = run_onnx(encoder, values)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == expected.dtype == np.float32
    if isinstance(encoder, CategoryEncoder):
        is_known = np.array([cell in encoder.vocabulary for cell in values])
    else:
        is_known = np.isfinite(values)
    assert (np.isfinite(value) == is_known).all()


@pytest.mark.parametrize("encoding", ["standardize", "passthrough", "divide"])
@settings(max_examples=50, deadline=None)
@given(training=st.lists(finite_numbers, min_size=1), values=st.lists(any_numbers, min_size=1))
@example(training=[1.0, 2.0, 4.0], values=[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4e38])
@example(training=[0.1, 0.1, 0.1], values=[0.1, 0.2])
def test_number_has_the_same_numbers_in_numpy_and_onnx(
    encoding: str, training: list[float], values: list[float]
) -> None:
    encoder = ENCODERS[encoding].fit("mass (g)", np.array(training), {"divide": 100.0}, NUMBER)
    assert_same_numbers(encoder, np.array(values))


@pytest.mark.parametrize(
    "values",
    [
        [0.3, 0.30000000000000004],  # equal in float32
        [1e-50, 2e-50],  # 0 in float32
        [0.0] * 9999 + [1e-45],  # the deviation is 0 in float32
        [5.0, 5.0],
    ],
)
def test_column_that_is_constant_in_float32_is_not_scaled(values: list[float]) -> None:
    encoder = StandardizeEncoder.fit("x", np.array(values), {}, NUMBER)
    assert encoder.std == 1
    assert (np.abs(encoder.transform(np.array(values))) < 1e-6).all()


@pytest.mark.parametrize("encoding", ["one-hot", "ordinal"])
@settings(max_examples=50, deadline=None)
@given(training=st.lists(texts, min_size=1), unseen=st.lists(texts))
@example(training=["Biscoe", "Dream"], unseen=["", " ", "dream", "Signy"])
@example(training=["", "ä", "a\N{COMBINING DIAERESIS}"], unseen=["\N{SNOWMAN}"])
def test_category_has_the_same_numbers_in_numpy_and_onnx(
    encoding: str, training: list[str], unseen: list[str]
) -> None:
    encoder = ENCODERS[encoding].fit("island/name", np.array(training, object), {}, CATEGORY)
    assert_same_numbers(encoder, np.array([*training, *unseen], object))


def test_unseen_category_has_no_code_and_the_empty_text_is_one() -> None:
    encoder = OrdinalEncoder.fit("island", np.array(["Dream", "Biscoe"], object), {}, CATEGORY)
    codes = encoder.transform(np.array(["Biscoe", "Dream", "Signy", ""], object))
    np.testing.assert_array_equal(codes[:, 0], [0, 1, np.nan, np.nan])


def test_one_hot_of_an_unseen_category_is_all_zeros() -> None:
    encoder = OneHotEncoder.fit("island", np.array(["Dream", "Biscoe"], object), {}, CATEGORY)
    one_hot = encoder.transform(np.array(["Dream", "Signy"], object))
    assert one_hot.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    "encoder",
    [
        PassthroughEncoder("x"),
        DivideEncoder("x", 10.0),
        StandardizeEncoder("x", 43.9, 5.4),
        OneHotEncoder("x", ("a", "b")),
        OrdinalEncoder("x", ("a", "b")),
        ImageEncoder("x", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), (32, 32, 3)),
    ],
    ids=lambda encoder: encoder.encoding,
)
def test_encoder_comes_back_from_json(encoder: Encoder) -> None:
    preprocessor = Preprocessor((encoder,), ("a", "b"))
    content = json.dumps(preprocessor.to_dict())
    assert Preprocessor.from_dict(json.loads(content)) == preprocessor
    assert ENCODERS[encoder.encoding] is type(encoder)


def test_preprocessor_of_format_1_names_the_step_to_run() -> None:
    with pytest.raises(DataError, match=r"has format 1, .* run step preprocess again"):
        Preprocessor.from_dict({"features": [], "classes": []})


def test_channels_are_standardized_by_the_pixels_of_the_training_split() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
    pixels[..., 2] = 7
    classes = ("a", "b")
    contract = Contract({"image": Column("image", width=4, height=4, channels=3)})
    fitted = Preprocessor.fit({"image": "standardize"}, classes, {"image": pixels}, contract)
    (encoder,) = fitted.encoders
    np.testing.assert_allclose(encoder.means, (pixels / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(encoder.scales[:2], (pixels / 255).std((0, 1, 2))[:2])
    # A channel that never changes has no standard deviation to divide by.
    assert encoder.scales[2] == 1.0
    scale = Scale(mean=0.5, std=0.25)
    stated = Preprocessor.fit({"image": scale}, classes, {"image": pixels}, contract)
    (encoder,) = stated.encoders
    assert (encoder.means, encoder.scales) == ((0.5,) * 3, (0.25,) * 3)
