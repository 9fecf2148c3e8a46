"""The preprocessing graph: raw columns in, the network's features out.

Inside, the rows lie along the last axis: every operator then runs along contiguous memory. With
rows along the first axis each operator costs some 10 ns a row in onnxruntime 1.31, however little
it does (docs/benchmarks.md).
"""

from dataclasses import dataclass

from creche.model.graph_builder import GraphBuilder
from creche.model.preprocessor import Preprocessor


@dataclass(frozen=True)
class PreprocessedTensors:
    """Names of the tensors that the preprocessing graph ends in."""

    features: str  # (N, width), the input of the model core
    ood_features: str  # (width, N), what ood_score is measured on
    nan_where_unknown: str  # (1, N): 0 where the row is known, else NaN


def add_preprocessing(graph: GraphBuilder, preprocessor: Preprocessor) -> PreprocessedTensors:
    """Add the inputs and encoders of all columns of a table, and return what they end in."""
    values, encoded = [], []
    for encoder in preprocessor.encoders:
        column = encoder.to_onnx(graph)
        values.append(column.value)
        encoded.append(column.encoded)
    by_column = graph.node("Concat", encoded, "features_by_column", axis=0)
    features = graph.node("Transpose", [by_column], "features", perm=[1, 0])
    all_values = graph.node("Concat", values, "values", axis=0)
    # NaN and infinity times 0 are NaN, and so is a sum with one of them.
    zero_or_nan = graph.node("Mul", [all_values, graph.constant("zero", 0.0)], "zero_or_nan")
    first_axis = graph.constant("first_axis", [0])
    nan_where_unknown = graph.node(
        "ReduceSum", [zero_or_nan, first_axis], "nan_where_unknown", keepdims=1
    )
    return PreprocessedTensors(features, by_column, nan_where_unknown)
