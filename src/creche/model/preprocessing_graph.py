"""The preprocessing graph: raw columns in, the network's features out.

Inside, the rows lie along the last axis: every operator then runs along contiguous memory. With
rows along the first axis each operator costs some 10 ns a row in onnxruntime 1.31, however little
it does (docs/benchmarks.md).
"""

from dataclasses import dataclass

import numpy as np

from creche.contract import Contract
from creche.model.encoders import EncodedColumn
from creche.model.graph_builder import GraphBuilder
from creche.model.preprocessor import Preprocessor


@dataclass(frozen=True)
class PreprocessedTensors:
    """Names of the tensors that the preprocessing graph ends in."""

    features: str  # (N, width), the input of the model core
    ood_features: str  # (width, N), what ood_score is measured on
    nan_where_unknown: str  # (1, N): 0 where the row is known, else NaN


def add_preprocessing(
    graph: GraphBuilder, preprocessor: Preprocessor, contract: Contract
) -> PreprocessedTensors:
    """Add the inputs and encoders of all columns of a table, and return what they end in.

    Args:
        graph: the preprocessing part.
        preprocessor: fitted on the training rows.
        contract: states the limits of numbers; a row with a number beyond them is unknown.
    """
    are_known, encoded = [], []
    for encoder in preprocessor.encoders:
        column = encoder.to_onnx(graph)
        limits = contract.columns[encoder.column].model_limits()
        are_known.append(_add_is_known(graph, encoder.column, column, limits))
        encoded.append(column.encoded)
    by_column = graph.node("Concat", encoded, "features_by_column", axis=0)
    features = graph.node("Transpose", [by_column], "features", perm=[1, 0])
    is_known = are_known[0]
    for encoder, is_column_known in zip(preprocessor.encoders[1:], are_known[1:], strict=True):
        name = f"{encoder.column}/is_row_known"
        is_known = graph.node("And", [is_known, is_column_known], name)
    known = graph.constant("known", np.zeros((1, 1)))
    unknown = graph.constant("unknown", np.full((1, 1), np.nan))
    nan_where_unknown = graph.node("Where", [is_known, known, unknown], "nan_where_unknown")
    return PreprocessedTensors(features, by_column, nan_where_unknown)


def _add_is_known(
    graph: GraphBuilder,
    name: str,
    column: EncodedColumn,
    limits: tuple[float, float] | None,
) -> str:
    """Add whether each value of a column is known, and return the name of that tensor (1, N).

    Args:
        name: of the column.
        column: its tensors.
        limits: the least and the largest value that is known; None: every one but NaN is.
    """
    value = bounded = column.value
    if limits is not None:
        add_constant = graph.double_constant if column.is_double else graph.constant
        smallest = add_constant(f"{name}/min", limits[0])
        largest = add_constant(f"{name}/max", limits[1])
        bounded = graph.node("Clip", [value, smallest, largest], f"{name}/clipped")
    # A value beyond a limit differs from the limit; NaN equals nothing, not even itself.
    return graph.node("Equal", [value, bounded], f"{name}/is_known")
