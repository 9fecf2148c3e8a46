"""Run the model file in a process where torch was never imported.

`python -m creche.evaluation.isolated FOLDER` reads `request.json` and `rows.parquet` in the folder,
and writes `predictions.parquet` and `report.json` there. What ships has to give the same
predictions in batches of any size, reproduce its golden rows, and pass the behavior tests.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.data import pixel_store
from creche.data.out_of_fold import as_lists
from creche.errors import CrecheError, ModelError
from creche.evaluation.behavior import run_behavior_test
from creche.evaluation.ood import ood_metrics
from creche.model.artifact import Model, Predictions
from creche.project import read_json, read_record, write_json, write_record
from creche.recipe import Gate
from creche.records import FileChecks, IsolatedReport

REQUEST = "request.json"
ROWS = "rows.parquet"
ISOLATED_PREDICTIONS = "predictions.parquet"
REPORT = "report.json"

BATCH_SIZES = (1, 2, 7, 4096)  # rows
SMALL_BATCH = 256  # rows; smaller batches are tried on this many rows only
TIMED_PREDICTIONS = 200  # of one row, whose median is the latency


def evaluate_isolated(model: Path, rows: pa.Table, gate: Gate) -> tuple[pa.Table, IsolatedReport]:
    """Return the model's predictions of all rows, in order, and the checks of the file.

    Raises:
        ModelError: it cannot be loaded, or run, in a fresh process.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(rows, folder / ROWS)
        request = {"model": str(model.resolve()), "gate": gate.model_dump(mode="json")}
        write_json(folder / REQUEST, request)
        command = [sys.executable, "-m", "creche.evaluation.isolated", name]
        completed = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        if completed.returncode:
            output = completed.stderr.strip().splitlines()
            reason = output[-1] if output else f"exit {completed.returncode}"
            raise ModelError(f"{model} cannot be run in a fresh process: {reason}")
        predictions = pq.read_table(folder / ISOLATED_PREDICTIONS)
        return predictions, read_record(folder / REPORT, IsolatedReport)


def main(folder: Path) -> None:
    """Do what `request.json` in the folder asks for."""
    request = read_json(folder / REQUEST)
    gate = Gate.model_validate(request["gate"])
    rows = pq.read_table(folder / ROWS)
    model = Model(Path(request["model"]), provider=gate.provider)
    inputs = pixel_store.model_arrays(rows, model.contract)
    predictions = model.predict(inputs)
    behavior = [run_behavior_test(test, model, rows, inputs, predictions) for test in gate.behavior]
    report = IsolatedReport(
        file=_check_file(model, inputs, predictions, gate),
        behavior=behavior,
        ood=ood_metrics(model, predictions),
    )
    pq.write_table(_as_table(predictions), folder / ISOLATED_PREDICTIONS)
    write_record(folder / REPORT, report)


def _check_file(
    model: Model, inputs: Mapping[str, np.ndarray], predictions: Predictions, gate: Gate
) -> FileChecks:
    differences = [_difference_in_batches(model, inputs, predictions, size) for size in BATCH_SIZES]
    return FileChecks(
        provider=gate.provider,
        bytes=len(model.content),
        latency_ms=_latency_ms(model, inputs),
        golden_mismatches=model.verify(),
        batch_size_difference=max(differences),
    )


def _latency_ms(model: Model, inputs: Mapping[str, np.ndarray]) -> float:
    """Return the median time of a prediction of one row."""
    first_row = {name: array[:1] for name, array in inputs.items()}
    seconds = []
    for _ in range(TIMED_PREDICTIONS):
        start = time.perf_counter()
        model.predict(first_row)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def _difference_in_batches(
    model: Model, inputs: Mapping[str, np.ndarray], whole: Predictions, size: int
) -> float:
    """Return the largest difference of a probability between predictions in batches of `size` rows
    and all at once; 1: of a label.
    """
    rows = len(whole.labels)
    if size < SMALL_BATCH:
        rows = min(rows, SMALL_BATCH)
    labels = []
    probabilities = []
    for start in range(0, rows, size):
        end = min(start + size, rows)
        batch = model.predict({name: array[start:end] for name, array in inputs.items()})
        labels.append(batch.labels)
        probabilities.append(batch.probabilities)
    if (np.concatenate(labels) != whole.labels[:rows]).any():
        return 1.0
    difference = np.abs(np.concatenate(probabilities) - whole.probabilities[:rows])
    # The probabilities of a row with an unseen category are NaN in both.
    return float(np.nan_to_num(difference).max())


def _as_table(predictions: Predictions) -> pa.Table:
    return pa.table(
        {
            LABEL: pa.array(predictions.labels.tolist(), pa.string()),
            PROBABILITIES: as_lists(predictions.probabilities),
            PREDICTION_SET: as_lists(predictions.sets),
            OOD_SCORE: predictions.ood_score,
        }
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except CrecheError as error:
        sys.exit(str(error))
