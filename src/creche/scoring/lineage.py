"""From a prediction back to its row, its model and its data, and through the model again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from creche.contract import Contract
from creche.data.batch import Batch
from creche.data.sources import find_sources, image_source
from creche.data.table_reader import TableReader
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MANIFEST, PREDICTIONS, QUARANTINE
from creche.scoring.manifest import read_manifest
from creche.scoring.output_columns import PATH_COLUMN, AddedColumns

if TYPE_CHECKING:
    from creche.records import InputSummary, ScoringManifest


@dataclass(frozen=True)
class LocatedPrediction:
    """One row of predictions, and where it is."""

    row: dict[str, Any]  # column → cell
    manifest: "ScoringManifest"
    out: Path  # folder of the manifest
    path: Path  # file of the predictions
    position: int  # among its rows, from 0


@dataclass(frozen=True)
class Replay:
    """A prediction made again."""

    label: str
    probabilities: list[float]  # in the order of the classes
    same: bool  # whether label and probabilities are those on record, bit for bit


def find_row(reference: str) -> LocatedPrediction:
    """Return the prediction that `OUT:ROW` or `OUT:COLUMN=VALUE` names, with its manifest.

    OUT is the folder of a scoring, or one file of predictions in it; ROW counts its rows from 1.

    Raises:
        DataError: there is no such scoring, file or row, or more than one row has the value.
    """
    path_argument, selector = _split_reference(reference)
    path = _predictions_file(path_argument)
    folders = [folder for folder in path.parents if (folder / MANIFEST).is_file()]
    if not path.is_file() or not folders:
        raise DataError(f"{path} is no file of predictions of a scoring")
    out = folders[0]
    table = _read_predictions(path)
    position = _select_row(table, selector, path)
    row = table.slice(position, 1).to_pylist()[0]
    return LocatedPrediction(row, read_manifest(out / MANIFEST), out, path, position)


def _split_reference(reference: str) -> tuple[Path, str]:
    """Split at the first colon that has an existing path before it, or else at the last one."""
    path_text = ""
    selector = ""
    for i, character in enumerate(reference):
        if character != ":":
            continue
        path_text = reference[:i]
        selector = reference[i + 1 :]
        # Paths and values may have colons of their own.
        if Path(path_text).exists():
            break
    if not path_text or not selector:
        raise DataError(f"'{reference}' is not OUT:ROW or OUT:COLUMN=VALUE")
    return Path(path_text), selector


def _predictions_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = [file for file in path.glob(f"{PREDICTIONS}.*") if file.is_file()]
    files += sorted(path.glob(f"{PREDICTIONS}/**/*.*"))
    if len(files) != 1:
        example = f", such as {files[0]}" if files else ""
        raise DataError(f"{path} holds {len(files)} files of predictions: name one{example}")
    return files[0]


def _select_row(table: pa.Table, selector: str, path: Path) -> int:
    """Return the position of the row that ROW or COLUMN=VALUE names."""
    column, separator, value = selector.partition("=")
    if separator:
        return _row_with_value(table, column, value, path)
    is_number = selector.isascii() and selector.isdigit()
    if not is_number or not 1 <= int(selector) <= table.num_rows:
        raise DataError(
            f"{path} has rows 1 to {table.num_rows}, not {selector}; quarantined rows are in "
            f"{QUARANTINE}"
        )
    return int(selector) - 1


def _row_with_value(table: pa.Table, column: str, value: str, path: Path) -> int:
    if column not in table.column_names:
        raise DataError(f"{path} has no column '{column}'")
    try:
        texts = pc.cast(table[column], pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"column '{column}' of {path} has no values that can be stated as text; name a row by "
            "its number"
        ) from None
    is_equal = pc.equal(texts, value)
    positions = np.flatnonzero(np.asarray(pc.fill_null(is_equal, False)))
    if len(positions) != 1:
        raise DataError(
            f"{len(positions)} rows of {path} have {column} = {value}; name one by its number"
        )
    return int(positions[0])


def _read_predictions(path: Path) -> pa.Table:
    if path.suffix == ".csv":
        return _read_csv_as_text(path)
    if path.suffix == ".jsonl":
        # Other characters than the line feed may end lines for Python, but do not in JSON lines.
        lines = path.read_text(encoding="utf-8").split("\n")
        return pa.Table.from_pylist([json.loads(line) for line in lines if line])
    return pq.read_table(path)


def _read_csv_as_text(path: Path) -> pa.Table:
    """Return a CSV file with every cell as it is written: 0002 is no number, and a class 1 is text.

    An empty cell that is not in quotes is null.
    """
    parse_options = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=parse_options) as reader:
        names = reader.schema.names
    convert_options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pa.csv.read_csv(path, parse_options=parse_options, convert_options=convert_options)


def replay(model: Model, prediction: LocatedPrediction) -> Replay:
    """Predict the row of a prediction again, and compare.

    Raises:
        DataError: the row has an image that is not what was scored.
    """
    columns = _read_images(model, prediction)
    for name, column in model.contract.columns.items():
        if name not in columns:
            # Predictions are written in one way, however the input is, and null where missing.
            written = replace(
                column, decimal_mark=".", thousands=None, symbols=(), missing_values=()
            )
            value = column.type.parse(prediction.row[name], written)
            columns[name] = np.array([value], dtype=object)
    predictions = model.predict(columns)
    label = str(predictions.labels[0])
    probabilities = predictions.probabilities[0]
    added = AddedColumns.of(model)
    recorded = np.array([prediction.row[name] for name in added.probabilities], np.float32)
    is_same_label = prediction.row[added.label] == label
    is_same = is_same_label and np.array_equal(recorded, probabilities, equal_nan=True)
    return Replay(label, probabilities.tolist(), is_same)


def _read_images(model: Model, prediction: LocatedPrediction) -> dict[str, np.ndarray]:
    """Return the row's images by column, (1, height, width, channels), from the file that was
    scored.
    """
    contract = model.contract.subset(model.contract.image_columns)
    if not contract.columns:
        return {}
    entry = _input_of(prediction)
    if entry.format == "images":
        source = image_source(entry.file, prediction.row[PATH_COLUMN])
        batch = TableReader(source, contract).read_all()
    else:
        batch = _read_input_row(entry, prediction, contract)
    if batch.conversion_errors:
        reason = batch.conversion_errors[0].reason
        raise DataError(f"{entry.file} is not what was scored: {reason}")
    arrays = {}
    for name, column in contract.columns.items():
        arrays[name] = column.type.model_array(batch.values[name], column)
    return arrays


def _input_of(prediction: LocatedPrediction) -> "InputSummary":
    """Return the manifest's entry of the file that the prediction is of."""
    for entry in prediction.manifest.inputs:
        if prediction.out / entry.predictions == prediction.path:
            return entry
    raise DataError(f"{prediction.path} is not in the manifest of its scoring")


def _read_input_row(
    entry: "InputSummary", prediction: LocatedPrediction, contract: Contract
) -> Batch:
    """Return the row of the input that the prediction is of."""
    source = find_sources([entry.file])[0]
    if source.sha256() != entry.sha256:
        raise DataError(
            f"{source.name} has changed since it was scored: its images cannot be replayed"
        )
    quarantine = pq.read_table(prediction.out / QUARANTINE, columns=["source", "row"])
    of_source = quarantine.filter(pc.equal(quarantine["source"], source.name))
    # Predictions have no number of their own: they are the rows that are not quarantined.
    accepted = np.setdiff1d(np.arange(1, entry.rows + 1), of_source["row"].to_numpy())
    row_number = accepted[prediction.position]
    reader = TableReader(source, contract)
    for row_numbers, cells in reader.blocks():
        if row_number <= row_numbers[-1]:
            at = int(np.searchsorted(row_numbers, row_number))
            return reader.convert(row_numbers[at : at + 1], cells.slice(at, 1))
    raise DataError(f"{source.name} has no row {row_number} any more")
