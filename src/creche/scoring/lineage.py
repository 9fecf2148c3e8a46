"""Back from a prediction: to its row, its model, its data; and from a model or data version to what
they last_modified.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from creche.contract import Contract, images
from creche.data.batch import Batch
from creche.data.sources import find_sources, image_source
from creche.data.table_reader import TableReader
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MANIFEST, PREDICTIONS, QUARANTINE, ProjectPaths, read_json
from creche.scoring.engine import added_columns

SCORING_LOG = "scorings.jsonl"


def append_to_log(out: Path, manifest: dict[str, Any], paths: ProjectPaths) -> None:
    """Append a published scoring to the journal under `CRECHE_HOME`: one line in one write, so that
    none is torn.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "out": str(out.resolve()),
        **{k: manifest[k] for k in ("state", "model", "rows", "scored", "quarantined")},
        "inputs": [{"file": i["file"], "sha256": i["sha256"]} for i in manifest["inputs"]],
    }
    paths.home.mkdir(parents=True, exist_ok=True)
    journal = os.open(paths.home / SCORING_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(journal, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(journal)


def impact(
    paths: ProjectPaths,
    recipe: str | None = None,
    version: str | None = None,
    data: str | None = None,
) -> list[Any]:
    """Journal entries whose model has this recipe, version (or the start of its digest) and data
    version (or its start).
    """
    journal = paths.home / SCORING_LOG
    entries = (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []
    )

    def meant(model: dict[str, str]) -> bool:
        return (
            recipe in (None, model["recipe"])
            and (
                version is None
                or version == model["version"]
                or (len(version) > 7 and model["digest"].startswith(version))
            )
            and (data is None or model["data_version"].startswith(data))
        )

    return [e for e in entries if meant(e["model"])]


class LocatedPrediction(NamedTuple):
    """A row of predictions, and where it stands."""

    row: dict[str, Any]
    manifest: dict[str, Any]
    out: Path  # folder of the manifest
    path: Path  # of the predictions
    place: int  # among them, from 0


def find_row(reference: str) -> LocatedPrediction:
    """The prediction that `OUT:ROW` or `OUT:COLUMN=VALUE` names, with the manifest that it stands
    under.

    OUT is the folder of a scoring, or one file of predictions in it; ROW counts its rows from 1.

    Raises:
        DataError: there is no such scoring, file or row, or more than one row of that value.
    """
    cuts = [i for i, c in enumerate(reference) if c == ":"]
    cut = next((i for i in cuts if Path(reference[:i]).exists()), cuts[-1] if cuts else 0)
    place, which = reference[:cut], reference[cut + 1 :]
    path = Path(place)
    if not place or not which:
        raise DataError(f"'{reference}' is not OUT:ROW or OUT:COLUMN=VALUE")
    if path.is_dir():
        files = [p for p in path.glob(f"{PREDICTIONS}.*") if p.is_file()] + sorted(
            path.glob(f"{PREDICTIONS}/**/*.*")
        )
        if len(files) != 1:
            raise DataError(
                f"{path} holds {len(files)} files of predictions: name one of them, {files[:1] or 'none'}"
            )
        path = files[0]
    manifests = [p / MANIFEST for p in path.parents if (p / MANIFEST).is_file()]
    if not path.is_file() or not manifests:
        raise DataError(f"{path} is no file of predictions of a scoring")
    table = _read(path)
    column, equals, value = which.partition("=")
    if equals:
        if column not in table.column_names:
            raise DataError(f"{path} has no column '{column}'")
        rows = np.flatnonzero(
            np.asarray(pc.fill_null(pc.equal(pc.cast(table[column], pa.string()), value), False))
        )
        if len(rows) != 1:
            raise DataError(
                f"{len(rows)} rows of {path} have {column} = {value}; name one by its number"
            )
        which = str(rows[0] + 1)
    if not (which.isascii() and which.isdigit()) or not 1 <= int(which) <= table.num_rows:
        raise DataError(
            f"{path} has rows 1 to {table.num_rows}, not {which}; quarantined rows stand in quarantine.parquet"
        )
    at = int(which) - 1
    return LocatedPrediction(
        table.slice(at, 1).to_pylist()[0], read_json(manifests[0]), manifests[0].parent, path, at
    )


def _read(path: Path) -> pa.Table:
    if path.suffix == ".csv":
        named = pa.csv.ConvertOptions(
            column_types={"path": pa.string()}
        )  # not a number, as 0001 would be
        return pa.csv.read_csv(path, convert_options=named)
    if path.suffix == ".jsonl":
        return pa.Table.from_pylist(
            [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        )
    return pq.read_table(path)


def replay(model: Model, found: LocatedPrediction) -> dict[str, Any]:
    """The row through the model again: its answer now, and whether it is the one on record, bit for
    bit.

    Raises:
        DataError: it has a picture, which is not any more where it was.
    """
    row, columns = found.row, _pixels(model, found)
    for name, column in model.contract.columns.items():
        if name not in columns:
            columns[name] = np.array([row[name]], np.float64 if column.kind == "number" else object)
    predictions = model.predict(columns)
    label, *probabilities = added_columns(model)[: 1 + len(model.classes)]
    recorded = np.array([row[p] for p in probabilities], np.float32)
    same = (
        row[label] == predictions.labels[0]
        and recorded.tobytes() == predictions.probabilities[0].tobytes()
    )
    return {
        "label": str(predictions.labels[0]),
        "probabilities": predictions.probabilities[0].tolist(),
        "same": bool(same),
    }


def _pixels(model: Model, found: LocatedPrediction) -> dict[str, np.ndarray]:
    """The row's pictures by column, each (1, height, width, channels), from the file that was
    scored.
    """
    shown = model.contract.subset(n for n, c in model.contract.columns.items() if c.kind == "image")
    if not shown.columns:
        return {}
    told = next(i for i in found.manifest["inputs"] if found.out / i["predictions"] == found.path)
    if told["format"] == "images":
        batch = TableReader(image_source(told["file"], found.row["path"]), shown).read_all()
    else:
        batch = _scored_row(told, found, shown)
    if batch.conversion_errors:
        raise DataError(
            f"{told['file']} is not what was scored: {batch.conversion_errors[0].reason}"
        )
    return {
        name: images.pixels(batch.values[name], column) for name, column in shown.columns.items()
    }


def _scored_row(told: dict[str, Any], found: LocatedPrediction, contract: Contract) -> Batch:
    """The row of the input that the prediction is of: the quarantined ones are not counted."""
    source = find_sources([told["file"]])[0]
    if source.sha256() != told["sha256"]:
        raise DataError(
            f"{source.name} has changed since it was scored: its pictures cannot be replayed"
        )
    refused = pq.read_table(found.out / QUARANTINE, columns=["source", "row"])
    refused = refused.filter(pc.equal(refused["source"], source.name))["row"].to_numpy()
    number = np.setdiff1d(np.arange(1, told["rows"] + 1), refused)[found.place]
    table = TableReader(source, contract)
    for rows, raw in table.blocks():
        if number <= rows[-1]:
            at = int(np.searchsorted(rows, number))
            return table.convert(rows[at : at + 1], raw.slice(at, 1))
    raise DataError(f"{source.name} has no row {number} any more")
