"""One file to score: a job that any process can do."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from creche import __version__
from creche.data.quarantine import MALFORMED_LINE, ORIGIN, malformed_table
from creche.data.readers import MalformedRows
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError
from creche.model.artifact import Model
from creche.scoring.blocks import score_blocks
from creche.scoring.engine import Engine, ScoredBlock
from creche.scoring.label_sums import LabelSums
from creche.scoring.ood_counts import OOD_RANGES
from creche.scoring.quarantine import quarantine_columns
from creche.scoring.staging import CommitKey, CommitRecord, StagingDirectory
from creche.scoring.writer import OutputFormat, TableWriter, open_writer

CACHED_MODELS = 4


@dataclass(frozen=True)
class KnownHeader:
    """The columns of a file that has to be read to its end to list them, as JSON lines have to."""

    names: list[str]
    stamp: list[int]  # of the file, before it was read


@dataclass(frozen=True)
class ScoringJob:
    """One file to score; it has names instead of open files, so that it can be sent to another
    process.
    """

    source: TableSource
    model_path: Path
    model_digest: str
    model_version: str
    staging: StagingDirectory
    target: str  # file of predictions below the output folder
    output_format: OutputFormat
    position: int  # among the files of the scoring, from 0
    known_header: KnownHeader | None = None

    @property
    def commit_path(self) -> Path:
        return self.staging.commit_path(self.position)

    @property
    def quarantine_path(self) -> Path:
        return self.staging.quarantine_path(self.position)

    @property
    def target_path(self) -> Path:
        return self.staging.path / self.target

    def key(self) -> CommitKey:
        """Return what the outputs depend on, with the file as it is now."""
        return CommitKey(
            self.source.name,
            self.source.stamp(),
            self.model_digest,
            self.model_version,
            self.target,
            __version__,
            self.source.reading.to_dict(),
        )

    def committed(self) -> CommitRecord | None:
        """Return the commit record of an earlier scoring whose outputs still hold, or None."""
        commit = CommitRecord.read(self.commit_path)
        if commit is None or commit.key != self.key():
            return None
        if not self.source.shows_changes():
            # The file may have been overwritten since.
            return None
        has_quarantine = not commit.quarantined or self.quarantine_path.is_file()
        return commit if has_quarantine and self.target_path.is_file() else None


@dataclass
class _Tally:
    """Rows of one file by outcome."""

    label_counts: np.ndarray  # (classes + 1,)
    ood_counts: np.ndarray  # (ranges,)
    rows: int = 0
    scored: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    label_sums: LabelSums | None = None

    def add_block(self, block: ScoredBlock) -> None:
        self.rows += block.rows
        self.scored += block.predictions.num_rows
        if block.quarantine is not None:
            self.quarantined += block.quarantine.num_rows
        self.reasons.update(block.reasons)
        self.label_counts += block.label_counts
        self.ood_counts += block.ood_counts
        if block.label_sums is not None:
            if self.label_sums is None:
                self.label_sums = LabelSums()
            self.label_sums.add(block.label_sums)

    def add_malformed(self, malformed: MalformedRows) -> None:
        count = len(malformed.row_numbers)
        self.rows += count
        self.quarantined += count
        self.reasons.update(malformed.reasons)


def score_file(job: ScoringJob) -> CommitRecord:
    """Score one file into the staging directory, and commit it; a file that was committed before is
    not scored again.

    Raises:
        DataError: the file cannot be read to its end, or changes meanwhile.
    """
    earlier = job.committed()
    if earlier is not None:
        return earlier
    key = job.key()
    model = _load_model(job.model_path, job.model_digest)
    header = None
    if job.known_header is not None and job.known_header.stamp == key.stamp:
        header = job.known_header.names
    reader = TableReader(job.source, model.contract, header)
    engine = Engine(model, job.model_version, reader)
    tally, sha256 = _write_and_hash(job, reader, engine)
    commit = CommitRecord(
        key=key,
        file=job.source.name,
        format=job.source.format,
        predictions=job.target,
        sha256=sha256,
        rows=tally.rows,
        scored=tally.scored,
        quarantined=tally.quarantined,
        reasons=dict(tally.reasons),
        label_counts=tally.label_counts.tolist(),
        ood_counts=tally.ood_counts.tolist(),
        label_sums=tally.label_sums,
        quarantine_columns=quarantine_columns(_quarantine_schema(reader)),
        quarantined_as=reader.quarantined_as,
        renamed=reader.renamed,
    )
    # Predictions and digest must be of the same bytes.
    if job.key() != key:
        raise DataError(
            f"{reader.name} changed while it was being scored: score it again when it is whole"
        )
    commit.write(job.commit_path)
    return commit


def _write_and_hash(job: ScoringJob, reader: TableReader, engine: Engine) -> tuple[_Tally, str]:
    """Write the outputs of one file; return its counts, and the SHA-256 of its bytes."""
    if job.source.is_small:
        return _write_outputs(job, reader, engine), job.source.sha256()
    # Hashing releases the GIL, so it runs beside the scoring.
    with ThreadPoolExecutor(1) as hashing_thread:
        sha256 = hashing_thread.submit(job.source.sha256)
        tally = _write_outputs(job, reader, engine)
        return tally, sha256.result()


def _quarantine_schema(reader: TableReader) -> pa.Schema:
    return pa.schema([*reader.quarantine_schema, (MALFORMED_LINE, pa.string()), *ORIGIN])


def _write_outputs(job: ScoringJob, reader: TableReader, engine: Engine) -> _Tally:
    """Write the predictions and the refused rows of one file, and count them."""
    tally = _Tally(
        label_counts=np.zeros(engine.columns.label_count, np.int64),
        ood_counts=np.zeros(len(OOD_RANGES), np.int64),
    )
    with ExitStack() as open_files:

        def open_predictions(schema: pa.Schema) -> TableWriter:
            return open_files.enter_context(open_writer(job.target_path, schema, job.output_format))

        quarantine = _QuarantineWriter(job.quarantine_path, reader, open_files)
        # Their schema depends on the types of the first block.
        predictions: TableWriter | None = None
        for block in score_blocks(reader, engine):
            if predictions is None:
                predictions = open_predictions(block.predictions.schema)
            predictions.write(block.predictions)
            if block.quarantine is not None:
                quarantine.write(block.quarantine)
            tally.add_block(block)
        if predictions is None:
            # A file without rows has predictions of none, so that every file has its own.
            open_predictions(engine.empty_schema())
        quarantine.write(malformed_table(reader.malformed, reader.name))
        tally.add_malformed(reader.malformed)
    return tally


class _QuarantineWriter:
    """The refused rows of one file, which is opened for the first of them.

    Most of many small files have none.
    """

    def __init__(self, path: Path, reader: TableReader, open_files: ExitStack) -> None:
        self._path = path
        self._reader = reader
        self._open_files = open_files
        self._writer: TableWriter | None = None

    def write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._writer is None:
            writer = open_writer(self._path, _quarantine_schema(self._reader), "parquet")
            self._writer = self._open_files.enter_context(writer)
        self._writer.write(rows)


# A process scores many files with one model.
@lru_cache(maxsize=CACHED_MODELS)
def _load_model(path: Path, digest: str) -> Model:
    return Model(path, digest)
