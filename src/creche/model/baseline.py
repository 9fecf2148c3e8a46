"""Baseline statistics of the training rows, and the golden rows, which the model file carries."""

import base64
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Column, Contract, images
from creche.contract.statistics import ColumnStatistics
from creche.model.metadata import BaselineStatistics

GOLDEN_ROWS_PER_CLASS = 6
GOLDEN_IMAGES_PER_CLASS = 2
MAX_EDGE_COLUMNS = 64  # that have edge cases, each of which is a row of all columns
EDGE_SHADES = (0, 255)  # black and white


def baseline_statistics(training: pa.Table, contract: Contract, label: str) -> BaselineStatistics:
    """Return statistics of each feature's values that are not missing, as its column type defines
    them, how many are missing, and the class shares.
    """
    columns: dict[str, ColumnStatistics] = {}
    missing: dict[str, int] = {}
    for name, column in contract.columns.items():
        missing[name] = training[name].null_count
        values = column.type.model_array(_known_cells(training[name]), column)
        columns[name] = column.type.statistics(values)
    counts = Counter(training[label].to_pylist())
    shares = {name: count / training.num_rows for name, count in sorted(counts.items())}
    return BaselineStatistics(columns=columns, missing=missing, classes=shares)


def _known_cells(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cells that are not missing."""
    return cells.drop_null() if cells.null_count else cells


def golden_rows(table: pa.Table, contract: Contract, label: str) -> dict[str, list[Any]]:
    """Return rows to be recorded with their predictions, as column → JSON cells.

    They are some rows of every class, spread over the table, then edge cases: the first row with
    one feature at an end of its range, beyond a limit, missing, or of an unseen category; of many
    features some. Null stands for NaN. Of images, which are pixels in base64, there are fewer, and
    the edge cases are black and white.
    """
    for name, column in contract.image_columns.items():
        return {name: _golden_images(table, column, name, label)}
    rows: list[dict[str, Any]] = []
    for class_name in sorted(set(table[label].to_pylist())):
        of_class = table.filter(pc.equal(table[label], class_name))
        count = min(GOLDEN_ROWS_PER_CLASS, of_class.num_rows)
        positions = np.linspace(0, of_class.num_rows - 1, count).astype(int)
        rows += of_class.take(pa.array(positions)).to_pylist()
    first = rows[0]
    for name in _edge_columns(contract):
        column = contract.columns[name]
        for edge in column.type.golden_edges(_known_cells(table[name]).to_numpy(), column):
            rows.append({**first, name: edge})
    cells: dict[str, list[Any]] = {}
    for name, column in contract.columns.items():
        cells[name] = [column.type.golden_cell(row[name]) for row in rows]
    return cells


def _edge_columns(contract: Contract) -> list[str]:
    """Return the columns that have edge cases: all, or of many columns some that are spread over
    them.
    """
    names = list(contract.columns)
    if len(names) <= MAX_EDGE_COLUMNS:
        return names
    positions = np.linspace(0, len(names) - 1, MAX_EDGE_COLUMNS).astype(int)
    return [names[position] for position in positions]


def _golden_images(table: pa.Table, column: Column, name: str, label: str) -> list[str]:
    labels = np.array(table[label].to_pylist())
    positions: list[int] = []
    for class_name in sorted(set(labels)):
        of_class = np.flatnonzero(labels == class_name)
        positions += of_class[:GOLDEN_IMAGES_PER_CLASS].tolist()
    pixels = images.pixels(table[name].take(pa.array(positions)), column)
    contents = [image.tobytes() for image in pixels]
    size = int(np.prod(column.shape))
    contents += [bytes([shade]) * size for shade in EDGE_SHADES]
    return [base64.b64encode(content).decode() for content in contents]
