"""What a model file answers to the holdout, asked in a process where torch never was: `python -m
creche.evaluation.isolated FOLDER`.

The folder holds `request.json` and `rows.parquet`; `predictions.parquet` and `findings.json` come
into it. What ships has to answer alike in a batch of any size, give its golden rows as on record,
and do what the recipe insists on.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.contract import UNKNOWN
from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.data import pixel_store
from creche.errors import CrecheError, ModelError
from creche.model.artifact import Model, Predictions
from creche.project import read_json, write_json
from creche.recipe import BehaviorTest, Gate, Shift

REQUEST, ROWS, ANSWERS, FINDINGS = (
    "request.json",
    "rows.parquet",
    "predictions.parquet",
    "findings.json",
)
BATCHES = (1, 2, 7, 4096)  # rows
SMALL_ROWS = 256  # that the small batches are tried on
TIMED = 200  # single answers whose median is the latency


def evaluate_isolated(model: Path, rows: pa.Table, gate: Gate) -> tuple[pa.Table, dict[str, Any]]:
    """The model's answers to all rows, in order, and what was found about the file; see
    `_findings`.

    Raises:
        ModelError: it cannot be loaded, or answer, in a fresh process.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(rows, folder / ROWS)
        write_json(
            folder / REQUEST, {"model": str(model.resolve()), "gate": gate.model_dump(mode="json")}
        )
        command = [sys.executable, "-m", "creche.evaluation.isolated", name]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ModelError(
                f"{model} does not answer in a fresh process: {said[-1] if said else f'exit {done.returncode}'}"
            )
        return pq.read_table(folder / ANSWERS), read_json(folder / FINDINGS)


def main(folder: Path) -> None:
    request = read_json(folder / REQUEST)
    gate, rows = Gate.model_validate(request["gate"]), pq.read_table(folder / ROWS)
    model = Model(Path(request["model"]), provider=gate.provider)
    columns = pixel_store.model_arrays(rows, model.contract)
    whole = model.predict(columns)
    pq.write_table(_as_table(whole), folder / ANSWERS)
    write_json(folder / FINDINGS, _findings(model, rows, columns, whole, gate))


def _findings(
    model: Model, rows: pa.Table, columns: Mapping[str, np.ndarray], whole: Predictions, gate: Gate
) -> dict[str, Any]:
    single = {n: c[:1] for n, c in columns.items()}
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        model.predict(single)
        seconds.append(time.perf_counter() - start)
    return {
        "file": {
            "provider": gate.provider,
            "bytes": len(model.content),
            "milliseconds": 1000 * float(np.median(seconds)),
            "golden": model.verify(),
            "batch_difference": max(_difference(model, columns, whole, size) for size in BATCHES),
        },
        "behavior": [_behave(model, rows, columns, whole, test) for test in gate.behavior],
    }


def _difference(
    model: Model, columns: Mapping[str, np.ndarray], whole: Predictions, size: int
) -> float:
    """The largest difference of a probability between answers in batches of `size` rows and all at
    once; 1: of a label.
    """
    n = len(whole.labels) if size >= SMALL_ROWS else min(len(whole.labels), SMALL_ROWS)
    parts = [
        model.predict({k: c[i : min(i + size, n)] for k, c in columns.items()})
        for i in range(0, n, size)
    ]
    labels = np.concatenate([p.labels for p in parts])
    if (labels != whole.labels[:n]).any():
        return 1.0
    probabilities = np.concatenate([p.probabilities for p in parts])
    return float(np.nan_to_num(np.abs(probabilities - whole.probabilities[:n])).max())


def _behave(
    model: Model,
    rows: pa.Table,
    columns: Mapping[str, np.ndarray],
    whole: Predictions,
    test: BehaviorTest,
) -> dict[str, Any]:
    """How many of the rows meant are answered as the recipe insists when they are changed as it
    says.
    """
    mask = np.ones(rows.num_rows, bool)
    for name, value in test.where.items():
        mask &= np.asarray(pc.fill_null(pc.equal(rows[name], value), False))
    changed = {n: c[mask] for n, c in columns.items()}
    for name, change in test.change.items():
        changed[name] = _changed(changed[name], change)
    now, before = (
        model.predict(changed).labels if mask.any() else whole.labels[:0],
        whole.labels[mask],
    )
    right = now == (before if test.expect == "same" else test.expect)
    words = {"same": "keep their label", UNKNOWN: "are answered 'unknown'"}
    return {
        "name": test.name,
        "expected": words.get(test.expect, f"become {test.expect}"),
        "rows": int(mask.sum()),
        "share": float(right.mean()) if mask.any() else None,
        "threshold": test.share,
    }


def _changed(column: np.ndarray, change: str | float | Shift) -> np.ndarray:
    if column.ndim == 4:
        if isinstance(change, Shift):
            return np.clip(column * change.times + change.add, 0, 255).astype(np.uint8)
        return column[:, :, ::-1]
    if isinstance(change, Shift):
        return np.asarray(column * change.times + change.add)
    return np.full(len(column), change, object if isinstance(change, str) else np.float64)


def _as_table(predictions: Predictions) -> pa.Table:
    return pa.table(
        {
            LABEL: pa.array(predictions.labels.tolist(), pa.string()),
            PROBABILITIES: pa.array(predictions.probabilities.tolist()),
            PREDICTION_SET: pa.array(predictions.sets.tolist()),
            OOD_SCORE: predictions.ood_score,
        }
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except CrecheError as error:
        sys.exit(str(error))
