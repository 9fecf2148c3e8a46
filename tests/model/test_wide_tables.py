"""Model files of tables with many columns grow with their number, and not with its square."""

import numpy as np
import pyarrow as pa

from creche.contract import Column, Contract
from creche.model.baseline import MAX_EDGE_COLUMNS, golden_rows
from creche.model.encoders import StandardizeEncoder
from creche.model.graph_builder import GraphBuilder


def test_edge_cases_of_many_columns_are_those_of_some() -> None:
    names = [f"x{position}" for position in range(300)]
    columns = {name: np.arange(4.0) for name in names}
    table = pa.table({"label": ["a", "b", "a", "b"], **columns})
    contract = Contract({name: Column("number", min=0, max=9) for name in names})
    rows = golden_rows(table, contract, "label")
    few = Contract({name: contract.columns[name] for name in names[:MAX_EDGE_COLUMNS]})
    assert list(rows) == names
    assert len(rows["x0"]) == len(golden_rows(table, few, "label")["x0"])
    # The first and the last column are among them.
    assert None in rows["x0"]
    assert None in rows["x299"]


def test_shape_of_each_row_is_stated_so_that_its_buffer_is_used_again() -> None:
    graph = GraphBuilder("preprocessing")
    for position in range(3):
        StandardizeEncoder(f"x{position}", 0.0, 1.0).to_onnx(graph)
    reshaped = [node.output[0] for node in graph.nodes if node.op_type == "Reshape"]
    assert [shape.name for shape in graph.shapes] == reshaped
    for shape in graph.shapes:
        first, last = shape.type.tensor_type.shape.dim
        assert (first.dim_value, last.dim_param) == (1, "N")
