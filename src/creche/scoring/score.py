"""Score files: every row ends in the predictions or in the quarantine, and the counts prove it before anything shows."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from creche import __version__
from creche.errors import ContractError, CrecheError, DataError, QuarantineError
from creche.model_file import UNKNOWN, Model
from creche.places import MANIFEST, PREDICTIONS, QUARANTINE, write_json
from creche.provenance import md5_of
from creche.tables import ORIGIN, RAGGED_LINE, Batch, Table, quarantine_table, ragged_table, reasons_by_row

Format = Literal["parquet", "csv"]
VERSION_COLUMN = "model_version"
WORKSHOP = ".creche-"
OURS = {MANIFEST, QUARANTINE, PREDICTIONS, f"{PREDICTIONS}.parquet", f"{PREDICTIONS}.csv"}


@dataclass
class Tally:
    """What became of the rows so far."""

    rows: int = 0
    scored: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, reasons: list[list[str]], labels: list[str]) -> None:
        """Some rows, each with its reasons (none: scored), and the labels of those that were scored."""
        self.rows += len(reasons)
        self.scored += len(labels)
        self.quarantined += sum(bool(r) for r in reasons)
        self.reasons.update(r for row in reasons for r in row)
        self.labels.update(labels)


def score(files: Sequence[Path], model: Model, version: str, out: Path, format_: Format = "parquet") -> dict[str, Any]:
    """Write predictions, quarantine and manifest into `out`, and return the manifest.

    One file gives `predictions.parquet`, several give `predictions/<name>.parquet`. What stood there of an earlier
    scoring is replaced whole: its manifest goes first, and the new one comes last.

    Raises:
        DataError, ContractError: a file cannot be read under the model's contract; nothing is published.
        QuarantineError: more rows than the model's recipe allows are refused; the quarantine is published, alone.
    """
    tables = [Table(f, model.contract) for f in files]
    for table in tables:
        if clash := [c for c in table.header if c in added_columns(model)]:
            raise ContractError(f"{table.name} already has a column '{clash[0]}', which scoring would write: rename it")
    targets = _targets(files, format_)
    tally = Tally()
    with _workshop(out) as part:
        with Writer(part / QUARANTINE, quarantine_schema(tables)) as quarantine:
            for table, target in zip(tables, targets, strict=True):
                _score_file(table, model, version, part / target, quarantine, tally)
        if tally.scored + tally.quarantined != tally.rows:
            raise CrecheError(f"{tally.rows} rows came in, {tally.scored + tally.quarantined} came out: a defect in creche")
        limit = model.metadata["quarantine"]["batch_max_share"]
        refused = not tally.scored or tally.quarantined / tally.rows > limit
        manifest = _manifest(tables, model, version, tally, refused)
        write_json(part / MANIFEST, manifest)
        if refused:
            for target in targets:
                (part / target).unlink(missing_ok=True)
        _publish(part, out)
    if refused:
        _refuse(manifest, limit, out)
    return manifest


def _manifest(tables: Sequence[Table], model: Model, version: str, tally: Tally, refused: bool) -> dict[str, Any]:
    provenance = model.metadata["provenance"]
    return {
        "state": "refused" if refused else "scored",
        "engine": __version__,
        "model": {
            "recipe": model.metadata["recipe"],
            "version": version,
            "digest": model.digest,
            "data_version": provenance["data_version"],
        },
        "inputs": [{"file": t.path.name, "md5": md5_of(t.path), "renamed": t.renamed} for t in tables],
        "rows": tally.rows,
        "scored": 0 if refused else tally.scored,
        "quarantined": tally.quarantined,
        "reasons": dict(sorted(tally.reasons.items(), key=lambda c: (-c[1], c[0]))),
        "labels": {} if refused else {c: tally.labels[c] for c in (*model.classes, UNKNOWN) if tally.labels[c]},
    }


def _refuse(manifest: dict[str, Any], limit: float, out: Path) -> None:
    if not manifest["rows"]:
        raise DataError("no rows to score: a header, and nothing under it")
    commonest = "; ".join(f"{n} × {reason}" for reason, n in list(manifest["reasons"].items())[:3])
    raise QuarantineError(
        f"{manifest['quarantined']} of {manifest['rows']} rows break the contract, more than the {limit:.0%} that this "
        f"model's recipe allows in a batch: {commonest}; no predictions were written, the rows are in {out / QUARANTINE}"
    )


def added_columns(model: Model) -> list[str]:
    """What scoring adds to a row."""
    return [f"predicted_{model.label}", *(f"probability_{c}" for c in model.classes), VERSION_COLUMN]


def quarantine_schema(tables: Sequence[Table]) -> pa.Schema:
    """Every column of every file, as text, then where the row came from and why it is here."""
    names = dict.fromkeys(h for t in tables for h in t.header if h not in ORIGIN.names)
    return pa.schema([*((n, pa.string()) for n in (*names, RAGGED_LINE)), *ORIGIN])


def _score_file(table: Table, model: Model, version: str, target: Path, quarantine: "Writer", tally: Tally) -> None:
    rules = table.contract.rules()
    predictions: Writer | None = None
    try:
        for batch in table.batches():
            reasons = reasons_by_row(batch.check(rules), len(batch.rows))
            scored = score_batch(batch, np.array([not r for r in reasons], bool), table, model, version)
            predictions = predictions or Writer(target, scored.schema)
            predictions.write(scored)
            quarantine.write(quarantine_table(batch, reasons, table.name))
            tally.add(reasons, scored[f"predicted_{model.label}"].to_pylist())
    finally:
        if predictions:
            predictions.close()
    if table.ragged.rows:
        quarantine.write(ragged_table(table.ragged, table.name))
        tally.add([[r] for r in table.ragged.reasons], [])


def score_batch(batch: Batch, good: np.ndarray, table: Table, model: Model, version: str) -> pa.Table:
    """The sound rows of a batch: model columns under canonical names, others as they came, then the answer."""
    keep = pa.array(good)
    values = {name: column.filter(keep) for name, column in batch.values.items()}
    probabilities = model.probabilities({n: v.to_numpy(zero_copy_only=False) for n, v in values.items()})
    canonical = {given: name for name, given in table.found.items()}
    columns: dict[str, pa.Array] = {}
    for given in table.header:
        name = canonical.get(given)
        columns[name or given] = values[name] if name else batch.raw.column(given).filter(keep)
    answers = [pa.array(model.labels(probabilities), pa.string()), *(pa.array(p) for p in probabilities.T)]
    answers.append(pa.array([version] * len(probabilities), pa.string()))
    return pa.table({**columns, **dict(zip(added_columns(model), answers, strict=True))})


class Writer:
    """A file that grows by tables: Parquet, or CSV where its name says so. What a table lacks of the schema is null."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.schema = schema
        self._writer = pa.csv.CSVWriter(path, schema) if path.suffix == ".csv" else pq.ParquetWriter(path, schema)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            columns = [_cells(table, f) for f in self.schema]
            self._writer.write_table(pa.table(columns, schema=self.schema))

    def close(self) -> None:
        self._writer.close()


def _cells(table: pa.Table, field_: pa.Field) -> pa.ChunkedArray:
    if field_.name not in table.column_names:
        return pa.nulls(table.num_rows, field_.type)
    cells = table[field_.name]
    if cells.type == field_.type:
        return cells
    try:
        return cells.cast(field_.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if c is None else str(c) for c in cells.to_pylist()], field_.type)


def _targets(files: Sequence[Path], format_: Format) -> list[str]:
    if len(files) == 1:
        return [f"{PREDICTIONS}.{format_}"]
    names = [f.name.removesuffix(f.suffix) for f in files]
    if twice := [n for n in names if names.count(n) > 1]:
        raise DataError(f"two files are called '{twice[0]}', and so would their predictions: score them into two folders")
    return [f"{PREDICTIONS}/{n}.{format_}" for n in names]


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A folder beside `out`'s future content, on its file system; gone afterwards, whatever happens.

    Raises:
        DataError: `out` cannot be written, or holds something that no scoring left there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in out.iterdir() if p.name not in OURS and not p.name.startswith(WORKSHOP)]
        if foreign:
            raise DataError(f"{out} holds '{foreign[0]}', which is not of a scoring: name an empty or new folder with --out")
        part = Path(tempfile.mkdtemp(prefix=WORKSHOP, dir=out))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    try:
        yield part
    except OSError as error:
        raise DataError(f"{out}: {error.strerror or error}; nothing was published") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _publish(part: Path, out: Path) -> None:
    """The old manifest goes first and the new one comes last: where there is one, all that it tells of is whole."""
    (out / MANIFEST).unlink(missing_ok=True)
    for old in out.iterdir():
        if old.is_dir() and old != part:  # also what a killed scoring left
            shutil.rmtree(old)
        elif old.name in OURS:
            old.unlink()
    for new in sorted(part.iterdir(), key=lambda p: p.name == MANIFEST):
        new.rename(out / new.name)
