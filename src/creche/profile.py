"""What the training data looked like, and rows to replay: carried in the model file for those who hold it later."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from creche.contract import Contract

BINS = 20
GOLDEN_PER_CLASS = 6
STRANGE = "\N{REPLACEMENT CHARACTER}"  # no vocabulary holds it


def statistics(training: pa.Table, contract: Contract, label: str) -> dict[str, Any]:
    """Per feature the count, range, mean, standard deviation and a 20-bin histogram, or the counts; class shares."""
    columns: dict[str, Any] = {}
    for name, column in contract.columns.items():
        values = training[name].to_numpy()
        if column.kind == "number":
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
            columns[name] = {"rows": len(values), "counts": dict(sorted(Counter(values.tolist()).items()))}
    labels = Counter(training[label].to_pylist())
    return {"columns": columns, "classes": {c: n / training.num_rows for c, n in sorted(labels.items())}}


def golden_rows(table: pa.Table, contract: Contract, label: str) -> dict[str, list[Any]]:
    """Rows to replay: some of every class, spread over the table, then edges.

    An edge is the first row with one feature at the end of its range, then with one feature not a number, infinite or
    of a category that nobody has seen; null stands for a number that is none.
    """
    rows: list[dict[str, Any]] = []
    for name in sorted(set(table[label].to_pylist())):
        of_class = table.filter(pa.compute.equal(table[label], name))
        places = np.linspace(0, of_class.num_rows - 1, min(GOLDEN_PER_CLASS, of_class.num_rows)).astype(int)
        rows += of_class.take(pa.array(places)).to_pylist()
    first = rows[0]
    for name, column in contract.columns.items():
        values = table[name].to_numpy()
        edges = [values.min(), values.max(), None] if column.kind == "number" else [*sorted(set(values)), STRANGE]
        rows += [{**first, name: edge} for edge in edges]
    return {n: [None if r[n] is None else _plain(r[n]) for r in rows] for n in contract.columns}


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)
