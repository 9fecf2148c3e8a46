"""Score files: every row ends in the predictions or in the quarantine, and the counts prove it
before anything shows.

Each file is scored into a workshop inside the output folder and leaves a receipt there. A scoring
that was killed finds the receipts when it is started again, keeps what is whole and scores the
rest; what is published at the end is the same.
"""

import fcntl
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche import __version__
from creche.contract import UNKNOWN
from creche.data.quarantine import MALFORMED_LINE, ORIGIN, malformed_table
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError, CrecheError, DataError, QuarantineError
from creche.model.artifact import Model, processors
from creche.project import MANIFEST, PREDICTIONS, QUARANTINE, atomic_write, read_json, write_json
from creche.scoring.engine import Engine, Scored, added_columns
from creche.scoring.writer import BYTES_ROWS, GROUP_ROWS, Format, Writer

STAGING_DIRECTORY = ".creche-work"
FORMATS = ("parquet", "csv", "jsonl")
OUTPUT_NAMES = {
    MANIFEST,
    QUARANTINE,
    PREDICTIONS,
    STAGING_DIRECTORY,
    *(f"{PREDICTIONS}.{f}" for f in FORMATS),
}

CommitRecord = dict[str, Any]
Run = Callable[[Sequence["ScoringJob"]], Iterator[CommitRecord]]


@dataclass(frozen=True)
class ScoringJob:
    """One file to score; carries names, not handles, so that it can travel to another process."""

    source: TableSource
    model: str
    digest: str
    version: str
    workshop: str
    target: str  # below the workshop
    format: Format
    place: int

    @property
    def receipt(self) -> Path:
        return Path(self.workshop) / "receipts" / f"{self.place}.json"

    @property
    def quarantine(self) -> Path:
        return Path(self.workshop) / "quarantined" / f"{self.place}.parquet"

    def done(self) -> CommitRecord | None:
        """The receipt of an earlier scoring of the same file, as it still is, with the same
        model.
        """
        if not self.receipt.is_file():
            return None
        receipt: CommitRecord = read_json(self.receipt)
        whole = self.quarantine.is_file() and (Path(self.workshop) / self.target).is_file()
        return receipt if whole and receipt["key"] == self.key() else None

    def key(self) -> list[Any]:
        return [
            self.source.name,
            self.source.stamp(),
            self.digest,
            self.version,
            self.target,
            __version__,
        ]


def score(
    sources: Sequence[TableSource],
    model: Model,
    version: str,
    out: Path,
    format_: Format = "parquet",
    run: Run | None = None,
    on_file: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write predictions, quarantine and manifest into `out`, and return the manifest.

    One file gives `predictions.parquet`; several, or one out of a folder, give `predictions/…` as
    they lie in it. What
    stood there of an earlier scoring is replaced whole: its manifest goes first, and the new one
    comes last.

    Args:
        run: scores jobs and yields their receipts in order; one after the other in this process if
        not given.
        on_file: is told how many files of how many are done.

    Raises:
        DataError, ContractError: a file cannot be read under the model's contract; nothing is
        published.
        QuarantineError: more rows than the model's recipe allows are refused; the quarantine is
        published, alone.
    """
    started = time.perf_counter()
    _check_headers(sources, model)
    if within := [s.name for s in sources if Path(s.path).resolve().is_relative_to(out.resolve())]:
        raise DataError(
            f"{within[0]} lies in {out} itself, where predictions would take its place: name another --out"
        )
    with _workshop(out) as part:
        alone = len(sources) == 1 and "/" not in sources[0].relative
        names = [
            f"{PREDICTIONS}.{format_}" if alone else f"{PREDICTIONS}/{s.stem}.{format_}"
            for s in sources
        ]
        jobs = [
            ScoringJob(
                s,
                str(model.path.resolve()),
                model.digest,
                version,
                str(part.resolve()),
                n,
                format_,
                i,
            )
            for i, (s, n) in enumerate(zip(sources, names, strict=True))
        ]
        receipts = []
        for receipt in (run or _here)(jobs):
            receipts.append(receipt)
            if on_file:
                on_file(len(receipts), len(jobs))
        manifest = _manifest(receipts, model, version)
        manifest["seconds"] = round(time.perf_counter() - started, 3)
        _reconcile(receipts)
        _gather_quarantine(jobs, part / QUARANTINE)
        write_json(part / MANIFEST, manifest)
        _publish(part, out, names, manifest["state"] == "scored")
    if manifest["state"] == "refused":
        _refuse(manifest, model.metadata.quarantine.batch_max_share, out)
    return manifest


def _check_headers(sources: Sequence[TableSource], model: Model) -> None:
    added = added_columns(model)
    for source in sources:
        table = TableReader(source, model.contract)
        if clash := [c for c in table.ignored if c in added]:
            raise ContractError(
                f"{table.name} already has a column '{clash[0]}', which scoring would write: rename it"
            )


def _here(jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
    return map(score_file, jobs)


@lru_cache(maxsize=4)
def _model(path: str, digest: str) -> Model:
    return Model(Path(path), digest)


def score_file(job: ScoringJob) -> CommitRecord:
    """Score one file into the workshop and leave its receipt; what an earlier scoring left whole is
    not done again.

    Raises:
        DataError: the file cannot be read to its end, or changes meanwhile.
    """
    earlier = job.done()
    if earlier:
        return earlier
    model, key = _model(job.model, job.digest), job.key()
    table = TableReader(job.source, model.contract)
    engine = Engine(model, job.version, table)
    target = Path(job.workshop) / job.target
    tally = {"rows": 0, "scored": 0, "quarantined": 0}
    reasons: Counter[str] = Counter()
    labels = np.zeros(len(engine.predictions), np.int64)
    with ThreadPoolExecutor(1) as other, ExitStack() as open_files:
        digest = other.submit(job.source.sha256)
        schema = pa.schema([*table.quarantine_schema, (MALFORMED_LINE, pa.string()), *ORIGIN])
        quarantine = open_files.enter_context(_writing(job.quarantine, schema, "parquet"))
        predictions: Writer | None = None
        for scored in _pipeline(table, engine):
            predictions = predictions or open_files.enter_context(
                _writing(target, scored.predictions.schema, job.format)
            )
            predictions.write(scored.predictions)
            if scored.quarantine is not None:
                quarantine.write(scored.quarantine)
                tally["quarantined"] += scored.quarantine.num_rows
            tally["rows"] += scored.rows
            tally["scored"] += scored.predictions.num_rows
            reasons.update(scored.reasons)
            labels += scored.labels
        if predictions is None:  # no rows: predictions of none, so that every file has its own
            open_files.enter_context(_writing(target, engine.schema(_empty(table)), job.format))
        malformed = table.malformed
        quarantine.write(malformed_table(malformed, table.name))
        tally["rows"] += len(malformed.row_numbers)
        tally["quarantined"] += len(malformed.row_numbers)
        reasons.update(malformed.reasons)
        sha256 = digest.result()
    if job.key() != key:
        raise DataError(
            f"{table.name} changed while it was being scored: score it again when it is whole"
        )
    receipt = {
        "key": key,
        "file": job.source.name,
        "format": job.source.format,
        "predictions": job.target,
        "sha256": sha256,
        **tally,
        "reasons": dict(reasons),
        "labels": labels.tolist(),
        "renamed": table.renamed,
    }
    write_json(job.receipt, receipt)
    return receipt


@contextmanager
def _writing(path: Path, schema: pa.Schema, format_: Format) -> Iterator[Writer]:
    """A writer whose file takes its name when it is whole: two processes at one job do not meet in
    it.
    """
    with atomic_write(path) as unfinished, Writer(unfinished, schema, format_) as writer:
        yield writer


def _empty(table: TableReader) -> pa.Schema:
    own = {f.name: f for f in table.schema}
    return pa.schema([own.get(h, pa.field(h, pa.string())) for h in table.header])


def _pipeline(table: TableReader, engine: Engine) -> Iterator[Scored]:
    """Blocks in their order: read on one thread, scored on as many as there are processors, a few
    in flight.
    """
    threads = processors()
    ready: Queue[Future[Scored] | None] = Queue(threads + 2)
    enough = threading.Event()

    def feed() -> None:
        try:
            for rows, raw in table.blocks():
                if enough.is_set():
                    return
                ready.put(pool.submit(engine.score, rows, raw))
        except Exception as error:
            failed: Future[Scored] = Future()
            failed.set_exception(error)
            ready.put(failed)
        finally:
            ready.put(None)

    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as reader:
        fed = reader.submit(feed)
        try:
            while future := ready.get():
                yield future.result()
        finally:
            enough.set()
            while not fed.done():  # it may be waiting for room
                with suppress(Empty):
                    ready.get(timeout=0.1)


def _gather_quarantine(jobs: Sequence[ScoringJob], to: Path) -> None:
    """All quarantined rows in one file, with every column of every file as text, or as bytes where
    one has bytes.
    """
    files = [
        pq.ParquetFile(job.quarantine, pre_buffer=False) for job in jobs
    ]  # else all that was read stays
    fields = [f for file in files for f in file.schema_arrow if f.name not in ORIGIN.names]
    kinds = dict.fromkeys((f.name for f in fields), pa.string()) | {
        f.name: f.type for f in fields if f.type == pa.binary()
    }
    schema = pa.schema([*kinds.items(), *ORIGIN])
    with _writing(to, schema, "parquet") as writer:
        for file in files:
            for batch in file.iter_batches(
                BYTES_ROWS if pa.binary() in kinds.values() else GROUP_ROWS
            ):
                writer.write(batch)
            file.close()


def _reconcile(receipts: Sequence[CommitRecord]) -> None:
    for r in receipts:
        if r["scored"] + r["quarantined"] != r["rows"]:
            raise CrecheError(
                f"{r['file']}: {r['rows']} rows came in, {r['scored'] + r['quarantined']} came out: a defect"
            )


def _manifest(receipts: Sequence[CommitRecord], model: Model, version: str) -> dict[str, Any]:
    rows, scored, quarantined = (
        sum(r[k] for r in receipts) for k in ("rows", "scored", "quarantined")
    )
    refused = not scored or quarantined / rows > model.metadata.quarantine.batch_max_share
    reasons = sum((Counter(r["reasons"]) for r in receipts), Counter[str]())
    labels = np.sum([r["labels"] for r in receipts], axis=0).tolist()
    return {
        "state": "refused" if refused else "scored",
        "engine": __version__,
        "model": {
            "recipe": model.metadata.recipe,
            "version": version,
            "digest": model.digest,
            "verdict_id": model.verdict_id,
            "data_version": model.metadata.provenance.data_version,
        },
        "rows": rows,
        "scored": 0 if refused else scored,
        "quarantined": quarantined,
        "withheld": scored if refused else 0,
        "reasons": dict(sorted(reasons.items(), key=lambda c: (-c[1], c[0]))),
        "labels": {}
        if refused
        else {c: n for c, n in zip((*model.classes, UNKNOWN), labels, strict=True) if n},
        "inputs": [
            {
                k: r[k]
                for k in ("file", "format", "sha256", "predictions", "rows", "scored", "renamed")
            }
            for r in receipts
        ],
    }


def summary_lines(manifest: dict[str, Any]) -> list[str]:
    """A scoring in a few lines, from its manifest."""
    model = manifest["model"]
    lines = [
        f"{manifest['scored']} of {manifest['rows']} rows scored with {model['recipe']} version {model['version']} "
        f"({model['digest'][:12]}), {manifest['quarantined']} quarantined"
    ]
    renamed = {given: name for i in manifest["inputs"] for given, name in i["renamed"].items()}
    if renamed:
        lines.append("read " + ", ".join(f"{given} as {name}" for given, name in renamed.items()))
    if manifest["labels"]:
        lines.append(", ".join(f"{label} {count}" for label, count in manifest["labels"].items()))
    return [
        *lines,
        *(f"quarantined: {n} × {reason}" for reason, n in list(manifest["reasons"].items())[:5]),
    ]


def _refuse(manifest: dict[str, Any], limit: float, out: Path) -> None:
    if not manifest["rows"]:
        raise DataError("no rows to score: a header, and nothing under it, or not even that")
    commonest = "; ".join(f"{n} × {reason}" for reason, n in list(manifest["reasons"].items())[:3])
    raise QuarantineError(
        f"{manifest['quarantined']} of {manifest['rows']} rows break the contract, more than the {limit:.0%} that this "
        f"model's recipe allows in a batch: {commonest}; no predictions were written, the rows are in {out / QUARANTINE}"
    )


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, on the output's own file system; one scoring at a time.

    It goes when the scoring ends well, or has nothing to show; else it stays, for the next one to
    go on from.

    Raises:
        DataError: `out` cannot be written, holds something that no scoring left there, or is being
        scored into.
    """
    part = out / STAGING_DIRECTORY
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = OUTPUT_NAMES if part.is_dir() or _manifest_of(out) else set[str]()
        foreign = sorted(p.name for p in out.iterdir() if p.name not in ours) or _strangers(out)
        if foreign:
            raise DataError(
                f"{out} holds '{foreign[0]}', which no scoring left there: name an empty or new folder with --out"
            )
        part.mkdir(exist_ok=True)
        lock = os.open(part, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (
            os.fstat(lock).st_ino != part.stat().st_ino
        ):  # its holder has just finished and taken it away
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        raise DataError(
            f"{out} is being scored into by another process: wait for it, or name another --out"
        ) from None
    try:
        yield part
        shutil.rmtree(part)
    except OSError as error:
        raise DataError(
            f"{out}: {error.strerror or error}; nothing was published, start it again to go on"
        ) from None
    finally:
        if part.is_dir() and not any((part / "receipts").glob("*.json")):
            shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def _manifest_of(out: Path) -> dict[str, Any]:
    """The manifest of an earlier scoring; empty where there is none."""
    try:
        found = read_json(out / MANIFEST)
        return found if "engine" in found else {}
    except (OSError, ValueError, TypeError):
        return {}


def _strangers(out: Path) -> list[str]:
    """Files among the predictions of an earlier scoring that its manifest does not tell of."""
    told = {i["predictions"] for i in _manifest_of(out).get("inputs", [])}
    lying = (p.relative_to(out).as_posix() for p in out.glob(f"{PREDICTIONS}/**/*") if p.is_file())
    return sorted(p for p in lying if told and p not in told)


def _publish(part: Path, out: Path, targets: Sequence[str], scored: bool) -> None:
    """The old manifest goes first and the new one comes last: where there is one, all that it tells
    of is whole.
    """
    for file in part.glob(
        f"{PREDICTIONS}/**/*"
    ):  # what killed processes left, of these files or of others
        if file.is_file() and file.relative_to(part).as_posix() not in targets:
            file.unlink()
    (out / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(out / PREDICTIONS, ignore_errors=True)
    for name in OUTPUT_NAMES - {PREDICTIONS, STAGING_DIRECTORY}:
        (out / name).unlink(missing_ok=True)
    predictions = {t.split("/")[0] for t in targets} if scored else set[str]()
    for name in (*sorted(predictions), QUARANTINE, MANIFEST):
        (part / name).rename(out / name)
