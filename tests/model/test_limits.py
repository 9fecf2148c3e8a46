"""The limits of numbers in the preprocessing graph, against the contract's own rules."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

from creche.contract import Column, Contract
from creche.model.encoders import PassthroughEncoder, StandardizeEncoder
from creche.model.graph import IR_VERSION, ML_OPSET, OPSET
from creche.model.graph_builder import ML_DOMAIN, GraphBuilder
from creche.model.preprocessing_graph import add_preprocessing
from creche.model.preprocessor import Preprocessor

numbers = st.floats(-1e30, 1e30)
single_numbers = st.floats(width=32)  # NaN and infinity too


def are_unknown(column: Column, values: np.ndarray) -> np.ndarray:
    """Return which of the values (n,) the preprocessing graph marks as unknown."""
    # Another column without limits, so that the graph joins two of them.
    columns = {"x": column, "other": Column("number")}
    preprocessor = Preprocessor(
        (PassthroughEncoder("x"), StandardizeEncoder("other", 1.0, 2.0)), ()
    )
    graph = GraphBuilder("preprocessing")
    marks = add_preprocessing(graph, preprocessor, Contract(columns)).nan_where_unknown
    model = h.make_model(
        h.make_graph(
            graph.nodes,
            "limits",
            graph.inputs,
            [h.make_tensor_value_info(marks, T.FLOAT, [1, "N"])],
            list(graph.constants.values()),
        ),
        opset_imports=[h.make_opsetid("", OPSET), h.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(over="ignore"):
        feed = values.astype(np.float32).reshape(-1, 1)
    (row,) = session.run([marks], {"x": feed, "other": np.zeros_like(feed)})
    assert (row[0][~np.isnan(row[0])] == 0).all()
    return np.isnan(row[0])


@settings(max_examples=100, deadline=None)
@given(limits=st.tuples(numbers, numbers), values=st.lists(numbers, min_size=1))
@example(limits=(0.1, 0.3), values=[0.1, 0.3, 0.30000000000000004, float(np.float32(0.3))])
@example(limits=(0.0, 0.0), values=[0.0, -0.0, 1e-45, -1e-45])
@example(limits=(-5.0, 16_777_217.0), values=[16_777_217.0, 16_777_216.0])
def test_what_the_contract_accepts_is_known(
    limits: tuple[float, float], values: list[float]
) -> None:
    column = Column("number", min=min(limits), max=max(limits))
    inside = np.array([value for value in values if min(limits) <= value <= max(limits)])
    assume(len(inside))
    assert not are_unknown(column, inside).any()


@settings(max_examples=100, deadline=None)
@given(limits=st.tuples(numbers, numbers), values=st.lists(single_numbers, min_size=1))
@example(limits=(2000.0, 8000.0), values=[3.5, 1999.9999, 2000.0, 8000.0, 8000.0005])
@example(limits=(0.0, 1.0), values=[-1e-45, float("nan"), float("inf"), -float("inf")])
def test_what_lies_beyond_the_limits_in_float32_is_unknown(
    limits: tuple[float, float], values: list[float]
) -> None:
    column = Column("number", min=min(limits), max=max(limits))
    single = np.array(values, np.float32)
    with np.errstate(invalid="ignore"):
        inside = (single >= np.float32(min(limits))) & (single <= np.float32(max(limits)))
    assert (are_unknown(column, single) == ~inside).all()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("number"), [False, False, False, True, True]),
        (Column("number", min=0), [True, False, False, True, True]),
        (Column("number", max=1), [False, False, True, True, True]),
        # Limits beyond float32 exclude nothing but infinity.
        (Column("number", min=-1e300, max=1e300), [False, False, False, True, True]),
    ],
)
def test_one_limit_or_none_leaves_the_other_side_open(column: Column, expected: list[bool]) -> None:
    values = np.array([-3.4e38, 1.0, 3.4e38, np.nan, np.inf])
    assert are_unknown(column, values).tolist() == expected
