"""What the training data looked like, and rows to replay: carried in the model file for those who
hold it later.
"""

import base64
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from creche.contract import Column, Contract, images

GOLDEN_PER_CLASS = 6
GOLDEN_IMAGES_PER_CLASS = 2


def statistics(training: pa.Table, contract: Contract, label: str) -> dict[str, Any]:
    """Per feature the count, range, mean, standard deviation and a 20-bin histogram, or the counts;
    class shares.

    Of images, mean, deviation and histogram are of their mean brightness, 0 to 255.
    """
    columns: dict[str, Any] = {}
    for name, column in contract.columns.items():
        values = column.type.model_array(training[name], column)
        columns[name] = column.type.statistics(values)
    labels = Counter(training[label].to_pylist())
    return {
        "columns": columns,
        "classes": {c: n / training.num_rows for c, n in sorted(labels.items())},
    }


def golden_rows(table: pa.Table, contract: Contract, label: str) -> dict[str, list[Any]]:
    """Rows to replay: some of every class, spread over the table, then edges.

    An edge is the first row with one feature at the end of its range, then with one feature not a
    number, infinite or of a category that nobody has seen; null stands for a number that is none.
    Of images, which are their pixels in base64, there are fewer, and the edges are black and white.
    """
    image = next(iter(contract.image_columns), None)
    if image is not None:
        return {image: _golden_images(table, contract.columns[image], image, label)}
    rows: list[dict[str, Any]] = []
    for name in sorted(set(table[label].to_pylist())):
        of_class = table.filter(pa.compute.equal(table[label], name))
        positions = np.linspace(
            0, of_class.num_rows - 1, min(GOLDEN_PER_CLASS, of_class.num_rows)
        ).astype(int)
        rows += of_class.take(pa.array(positions)).to_pylist()
    first = rows[0]
    for name, column in contract.columns.items():
        values = table[name].to_numpy()
        for edge in column.type.golden_edges(values):
            rows.append({**first, name: edge})
    return {n: [None if r[n] is None else _plain(r[n]) for r in rows] for n in contract.columns}


def _golden_images(table: pa.Table, column: Column, name: str, label: str) -> list[str]:
    positions: list[int] = []
    labels = np.array(table[label].to_pylist())
    for value in sorted(set(labels)):
        positions += np.flatnonzero(labels == value)[:GOLDEN_IMAGES_PER_CLASS].tolist()
    chosen = [p.tobytes() for p in images.pixels(table[name].take(pa.array(positions)), column)]
    edges = [bytes([shade]) * int(np.prod(column.shape)) for shade in (0, 255)]
    return [base64.b64encode(p).decode() for p in (*chosen, *edges)]


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)
