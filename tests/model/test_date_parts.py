"""The encoder of dates: numpy and ONNX give the same numbers, those of Python's calendar."""

from datetime import UTC, datetime

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

from creche.contract import Column
from creche.contract.dates import MAX_SECONDS, MIN_SECONDS, microseconds
from creche.model.calendar import calendar_parts
from creche.model.encoders import DatePartsEncoder
from creche.model.encoders.dates import PARTS
from creche.model.graph import IR_VERSION, OPSET
from creche.model.graph_builder import GraphBuilder

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: microseconds(moment.replace(tzinfo=UTC)) / 1e6
)
ODD_SECONDS = [np.nan, np.inf, -np.inf, 1e300, -1e300, MIN_SECONDS, MAX_SECONDS, -0.0, -0.5]


def run_onnx(encoder: DatePartsEncoder, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the encoder's graph gives for seconds (n,): encoded (n, width), and value (n,)."""
    graph = GraphBuilder("preprocessing")
    column = encoder.to_onnx(graph)
    assert column.is_double
    value = graph.node("Identity", [column.value], "value_of_row")
    outputs = [
        h.make_tensor_value_info(column.encoded, T.FLOAT, [encoder.width, "N"]),
        h.make_tensor_value_info(value, T.DOUBLE, [1, "N"]),
    ]
    constants = list(graph.constants.values())
    model = h.make_model(
        h.make_graph(graph.nodes, "encoder", graph.inputs, outputs, constants),
        opset_imports=[h.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    encoded, value_row = session.run(None, {encoder.column: seconds.reshape(-1, 1)})
    return encoded.T, value_row[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENTS, min_size=1))
@example([951_782_400.0, 951_868_799.0, 951_868_800.0, -1.0, 4_107_542_400.0])
def test_parts_are_those_of_the_calendar(seconds: list[float]) -> None:
    parts = calendar_parts(np.array(seconds), np.floor, PARTS)
    for position, second in enumerate(seconds):
        moment = datetime.fromtimestamp(int(np.floor(second)), UTC)
        actual = [parts[part][position] for part in ("year", "month", "day", "weekday", "hour")]
        expected = [moment.year, moment.month, moment.day, moment.weekday(), moment.hour]
        assert actual == expected, moment


@pytest.mark.parametrize("missing", ["refuse", "allow"])
@settings(max_examples=30, deadline=None)
@given(
    training=st.lists(MOMENTS, min_size=1),
    seconds=st.lists(MOMENTS | st.floats() | st.sampled_from(ODD_SECONDS), min_size=1),
    parts=st.lists(st.sampled_from(PARTS), min_size=1, unique=True),
    has_missing=st.booleans(),
)
@example(training=[0.0], seconds=ODD_SECONDS, parts=[*PARTS], has_missing=True)
def test_date_has_the_same_numbers_in_numpy_and_onnx(
    missing: str, training: list[float], seconds: list[float], parts: list[str], has_missing: bool
) -> None:
    column = Column("date", missing=missing)  # type: ignore[arg-type]
    known = np.array([*training, np.nan]) if has_missing else np.array(training)
    encoder = DatePartsEncoder.fit("born (UTC)", known, {"date_parts": tuple(parts)}, column)
    values = np.array(seconds)
    expected = encoder.transform(values)
    actual, value = run_onnx(encoder, values)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == expected.dtype == np.float32
    assert np.isfinite(actual).all()
    assert encoder.has_indicator == (has_missing and missing == "allow")
    takes_missing = missing == "allow"
    np.testing.assert_array_equal(np.isnan(value), np.isnan(values) & (not takes_missing))


def test_parts_that_are_not_stated_are_those_that_differ_in_training() -> None:
    days = np.array([0.0, 86_400.0])
    encoder = DatePartsEncoder.fit("x", days, {}, Column("date"))
    assert encoder.parts == ("weekday", "day", "elapsed")
    # The weekday has two inputs, sine and cosine.
    assert encoder.width == 4
    times = DatePartsEncoder.fit("x", days * 400.3, {}, Column("date"))
    assert times.parts == PARTS
    assert DatePartsEncoder.fit("x", days[:1], {}, Column("date")).parts == ("elapsed",)


def test_missing_date_is_the_median_and_has_an_indicator() -> None:
    column = Column("date", missing="allow")
    values = np.array([0.0, 86_400.0, 172_800.0, np.nan])
    encoder = DatePartsEncoder.fit("x", values, {"date_parts": ("elapsed", "day")}, column)
    encoded = encoder.transform(np.array([np.nan, 86_400.0]))
    assert encoded[0, :2].tolist() == encoded[1, :2].tolist()
    assert encoded[:, 2].tolist() == [1.0, 0.0]
