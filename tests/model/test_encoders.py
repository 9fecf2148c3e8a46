"""Encoders: numpy and ONNX give the same numbers, and JSON gives the same encoder."""

import json
from dataclasses import replace
from typing import Literal

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
    DatePartsEncoder,
    DivideEncoder,
    EmbeddingEncoder,
    Encoder,
    ImageEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    PassthroughEncoder,
    RobustEncoder,
    StandardizeEncoder,
    ThermometerEncoder,
)
from creche.model.graph import IR_VERSION, ML_OPSET, OPSET
from creche.model.graph_builder import ML_DOMAIN, GraphBuilder
from creche.model.preprocessor import Preprocessor
from creche.recipe import Scale

NUMBER = Column("number")
NUMBER_WITH_HOLES = Column("number", missing="allow")
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
        is_known = np.array([encoder.takes(cell) for cell in values])
    else:
        is_known = np.isfinite(values) | (encoder.imputed is not None) & np.isnan(values)
    assert (np.isfinite(value) == is_known).all()


@pytest.mark.parametrize("encoding", ["standardize", "robust", "passthrough", "divide"])
@settings(max_examples=50, deadline=None)
@given(
    training=st.lists(finite_numbers, min_size=1),
    missing=st.integers(0, 3),
    values=st.lists(any_numbers, min_size=1),
    column=st.sampled_from([NUMBER, NUMBER_WITH_HOLES]),
)
@example(
    training=[1.0, 2.0, 4.0],
    missing=0,
    values=[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4e38],
    column=NUMBER,
)
@example(training=[0.1, 0.1, 0.1], missing=1, values=[0.1, 0.2, np.nan], column=NUMBER_WITH_HOLES)
def test_number_has_the_same_numbers_in_numpy_and_onnx(
    encoding: str, training: list[float], missing: int, values: list[float], column: Column
) -> None:
    if column.missing == "allow":
        training = training + missing * [np.nan]
    encoder = ENCODERS[encoding].fit("mass (g)", np.array(training), {"divide": 100.0}, column)
    assert_same_numbers(encoder, np.array(values))


@pytest.mark.parametrize("encoding", ["standardize", "robust", "passthrough"])
def test_missing_number_is_the_median_with_an_indicator(encoding: str) -> None:
    training = np.array([1.0, np.nan, 2.0, 9.0])
    encoder = ENCODERS[encoding].fit("x", training, {}, NUMBER_WITH_HOLES)
    assert encoder.width == 2
    inputs = encoder.transform(np.array([2.0, np.nan]))
    assert inputs[:, 1].tolist() == [0, 1]
    assert inputs[0, 0] == inputs[1, 0]


def test_missing_number_has_no_indicator_where_training_could_not_learn_it() -> None:
    encoder = StandardizeEncoder.fit("x", np.array([1.0, 2.0, 9.0]), {}, NUMBER_WITH_HOLES)
    assert encoder.width == 1
    inputs = encoder.transform(np.array([2.0, np.nan]))
    assert inputs[0] == inputs[1]


def test_column_without_a_value_in_training_is_refused() -> None:
    contract = Contract({"x": NUMBER_WITH_HOLES, "y": Column("category", missing="allow")})
    cells = {"x": np.array([np.nan, np.nan]), "y": np.array(["", ""], object)}
    for name, encoding in (("x", "standardize"), ("y", "one-hot")):
        message = f"feature '{name}' is missing in all 2 rows of the training split"
        with pytest.raises(DataError, match=message):
            Preprocessor.fit({name: encoding}, ("a", "b"), cells, contract)  # type: ignore[dict-item]


@pytest.mark.parametrize("far", [1e3, 1e30, 3e38])
def test_robust_scaling_bounds_values_far_from_the_others(far: float) -> None:
    encoder = RobustEncoder.fit("x", np.array([1.0, 2.0, 3.0, 4.0, 1e9]), {}, NUMBER)
    inputs = encoder.transform(np.array([3.0, 5.0, far, -far]))[:, 0]
    assert inputs[0] == 0
    assert inputs[1] == np.float32(1 / np.sqrt(1 + 1 / 9))
    assert inputs[2:] == pytest.approx([3, -3], abs=1e-4)


@pytest.mark.parametrize(
    ("values", "spread"), [([5.0, 5.0, 5.0, 5.0, 5.0, 9.0], 2), ([5.0, 5.0], 1)]
)
def test_robust_scaling_of_a_column_without_an_interquartile_range(
    values: list[float], spread: float
) -> None:
    assert RobustEncoder.fit("x", np.array(values), {}, NUMBER).spread == spread


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


@pytest.mark.parametrize("encoding", ["one-hot", "ordinal", "thermometer", "embedding"])
@settings(max_examples=50, deadline=None)
@given(
    training=st.lists(texts, min_size=1).filter(any),
    unseen=st.lists(texts),
    min_rows=st.integers(1, 3),
    missing=st.sampled_from(["refuse", "allow"]),
    unseen_is=st.sampled_from(["unknown", "other"]),
    ordered=st.booleans(),
)
@example(["Biscoe", "Dream"], ["", " ", "dream", "Signy"], 1, "refuse", "unknown", False)
@example(["", "ä", "a\N{COMBINING DIAERESIS}"], ["\N{SNOWMAN}"], 1, "refuse", "unknown", False)
@example(["", "a", "b", "b"], ["", "c"], 2, "allow", "other", True)
def test_category_has_the_same_numbers_in_numpy_and_onnx(
    encoding: str,
    training: list[str],
    unseen: list[str],
    min_rows: int,
    missing: Literal["refuse", "allow"],
    unseen_is: Literal["unknown", "other"],
    ordered: bool,
) -> None:
    levels = tuple(sorted({*training, *unseen}, reverse=True)) if ordered else None
    column = Column("category", values=levels, missing=missing, unseen=unseen_is, ordered=ordered)
    options = {"min_rows": min_rows, "max_values": 2, "width": 3}
    encoder = ENCODERS[encoding].fit("island/name", np.array(training, object), options, column)
    assert_same_numbers(encoder, np.array([*training, *unseen, ""], object))


def test_rare_values_share_one_input_and_an_unseen_one_is_unknown() -> None:
    training = np.array(["a", "a", "b", "b", "c", "d"], object)
    encoder = OneHotEncoder.fit("x", training, {"min_rows": 2}, CATEGORY)
    assert encoder.vocabulary == ("a", "b")
    values = np.array(["a", "b", "c", "d", "e"], object)
    assert encoder.transform(values).argmax(axis=1)[:4].tolist() == [0, 1, 2, 2]
    assert [encoder.takes(value) for value in values] == [True, True, True, True, False]


def test_most_frequent_values_have_an_input_of_their_own() -> None:
    training = np.array(["c", "c", "a", "b", "b"], object)
    encoder = OneHotEncoder.fit("x", training, {"max_values": 2}, CATEGORY)
    assert (encoder.vocabulary, encoder.pooled) == (("b", "c"), ("a",))


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        # Rare values of training are `other`, and an unseen one is that too.
        (["a", "a", "b"], [[1, 0], [0, 1], [0, 1]]),
        # Nothing is rare, so that an unseen value is encoded as nothing.
        (["a", "a", "b", "b"], [[1, 0], [0, 1], [0, 0]]),
    ],
)
def test_unseen_value_is_other(training: list[str], expected: list[list[int]]) -> None:
    column = Column("category", unseen="other")
    encoder = OneHotEncoder.fit("x", np.array(training, object), {"min_rows": 2}, column)
    values = np.array(["a", "b", "c"], object)
    assert encoder.transform(values).tolist() == expected
    assert encoder.takes("c")
    # A missing value is none that training has not seen.
    assert not encoder.takes("")


def test_missing_category_is_a_value_of_its_own() -> None:
    column = Column("category", missing="allow")
    encoder = OneHotEncoder.fit("x", np.array(["b", "", "a"], object), {}, column)
    assert encoder.vocabulary == ("a", "b")
    assert encoder.transform(np.array(["", "a"], object)).tolist() == [[0, 0, 1], [1, 0, 0]]
    complete = OneHotEncoder.fit("x", np.array(["b", "a"], object), {}, column)
    assert complete.transform(np.array(["", "a"], object)).tolist() == [[0, 0], [1, 0]]
    assert complete.takes("")


GRADES = Column("category", values=("low", "medium", "high"), ordered=True, missing="allow")


def test_thermometer_has_one_input_for_each_step_of_the_stated_order() -> None:
    training = np.array(["high", "low", "medium", "low", ""], object)
    encoder = ThermometerEncoder.fit("x", training, {}, GRADES)
    values = np.array(["low", "medium", "high", ""], object)
    # A missing value is at the median level, and has its indicator.
    expected = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert encoder.transform(values).tolist() == expected


def test_ordinal_has_the_codes_of_the_stated_order() -> None:
    training = np.array(["high", "low", "medium", "low"], object)
    encoder = OrdinalEncoder.fit("x", training, {}, GRADES)
    codes = encoder.transform(np.array(["low", "medium", "high", ""], object))
    assert codes[:, 0].tolist() == [0, 1, 2, 1]


def test_classes_of_a_number_are_in_the_order_of_the_number() -> None:
    column = Column("bins", edges=(8, 11))
    training = np.array(["11 or more", "below 8", "8 to below 11"], object)
    for encoding in ("ordinal", "thermometer"):
        encoder = ENCODERS[encoding].fit("x", training, {}, column)
        assert isinstance(encoder, CategoryEncoder)
        assert encoder.vocabulary == ("below 8", "8 to below 11", "11 or more")


def test_level_that_training_lacks_has_its_place_where_unseen_values_are_known() -> None:
    training = np.array(["high", "low"], object)
    assert OrdinalEncoder.fit("x", training, {}, GRADES).vocabulary == ("low", "high")
    column = replace(GRADES, unseen="other")
    encoder = OrdinalEncoder.fit("x", training, {}, column)
    assert encoder.transform(np.array(["medium"], object)).tolist() == [[1]]


def test_code_of_an_unknown_row_is_one_of_the_embedding_too() -> None:
    training = np.array(["a", "b"], object)
    encoder = EmbeddingEncoder.fit("x", training, {"width": 4, "min_rows": 1}, CATEGORY)
    assert encoder.transform(np.array(["b", "c"], object)).tolist() == [[1], [2]]
    assert encoder.n_codes == 2


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
        StandardizeEncoder("x", 43.9, 5.4, imputed=42.0, has_indicator=True),
        RobustEncoder("x", 43.9, 5.4),
        OneHotEncoder("x", ("a", "b")),
        OneHotEncoder("x", ("a", "b"), pooled=("c",), takes_missing=True, has_other=True),
        EmbeddingEncoder("x", ("a", "b"), takes_unseen=True, dimension=4),
        OrdinalEncoder("x", ("a", "b")),
        ThermometerEncoder("x", ("a", "b"), takes_missing=True, imputed_code=1),
        DatePartsEncoder("x", ("year", "month"), 0.5, (1970.0, 0.0), (2.0, 1.0), True, True),
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
