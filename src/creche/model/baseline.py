"""What the training data looked like, and rows to replay: carried in the model file for those who
hold it later.
"""

import base64
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from creche.contract import Column, Contract, images

BINS = 20
GOLDEN_PER_CLASS = 6
GOLDEN_IMAGES_PER_CLASS = 2
STRANGE = "\N{REPLACEMENT CHARACTER}"  # no vocabulary holds it


def statistics(training: pa.Table, contract: Contract, label: str) -> dict[str, Any]:
    """Per feature the count, range, mean, standard deviation and a 20-bin histogram, or the counts;
    class shares.

    Of images, mean, deviation and histogram are of their mean brightness, 0 to 255.
    """
    columns: dict[str, Any] = {}
    for name, column in contract.columns.items():
        values = (
            training[name].to_numpy()
            if column.kind != "image"
            else images.pixels(training[name], column)
        )
        if column.kind == "image":
            bright = values.reshape(len(values), -1).mean(axis=1)  # (n,), 0..255
            shades = np.histogram(bright, bins=BINS, range=(0, 255))[0].tolist()
            columns[name] = {
                "rows": len(values),
                "mean": float(bright.mean()),
                "std": float(bright.std()),
                "brightness": shades,
            }
        elif column.kind == "number":
            counts, edges = np.histogram(values, bins=BINS)
            columns[name] = {
                "rows": len(values),
                "min": float(values.min()),
                "max": float(values.max()),
                "mean": float(values.mean()),
                "std": float(values.std()),
                "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
            }
        else:
            columns[name] = {
                "rows": len(values),
                "counts": dict(sorted(Counter(values.tolist()).items())),
            }
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
    image = next((n for n, c in contract.columns.items() if c.kind == "image"), None)
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
        edges = (
            [values.min(), values.max(), None]
            if column.kind == "number"
            else [*sorted(set(values)), STRANGE]
        )
        rows += [{**first, name: edge} for edge in edges]
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
