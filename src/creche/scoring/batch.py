"""Batch scoring: every row of every file ends in the predictions or in the quarantine.

The counts are checked before anything is published. A scoring that was killed resumes from its
staging directory, and publishes the same bytes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from creche.data.folder_tables import SkippedFiles
from creche.data.quarantine import ReasonExample
from creche.data.readers import READERS
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import CrecheError, DataError, QuarantineError, listed
from creche.model.artifact import Model
from creche.project import MANIFEST, PREDICTIONS, QUARANTINE, write_record
from creche.scoring.executors import Executor, ThreadExecutor
from creche.scoring.jobs import KnownHeader, ScoringJob
from creche.scoring.manifest import batch_limit, build_manifest
from creche.scoring.output_columns import check_no_column_is_added_twice
from creche.scoring.quarantine import merge_quarantines
from creche.scoring.reason_examples import reason_examples
from creche.scoring.staging import CommitRecord, StagingDirectory, open_staging
from creche.scoring.writer import OutputFormat

if TYPE_CHECKING:
    from creche.records import ScoringManifest

MESSAGE_REASONS = 3  # reasons that the message of a refused batch lists
SHOWN_FILES = 3  # that an error lists
EXAMPLE_REASONS = 20  # the most frequent reasons, of which an example is looked for

# Manifest, and reason → an example, of the most frequent ones → the report as a page.
PageOf = Callable[["ScoringManifest", Mapping[str, ReasonExample]], str]


def score(
    sources: Sequence[TableSource],
    model: Model,
    version: str,
    out: Path,
    output_format: OutputFormat = "parquet",
    executor: Executor | None = None,
    on_file: Callable[[int, int], None] | None = None,
    skipped: SkippedFiles | None = None,
    page_of: PageOf | None = None,
) -> "ScoringManifest":
    """Write predictions, quarantine, report and manifest into `out`, and return the manifest.

    One file gives `predictions.parquet`; several, or one out of a folder, give `predictions/…` with
    the folders of the input. An earlier scoring in `out` is replaced as a whole.

    Args:
        version: the model's version in the registry, `file` where there is none.
        executor: does the jobs; without one, the files are scored in turn in this process.
        on_file: called with the files that are done, and the number of all.
        skipped: the files beside the sources that are not read, for the manifest.
        page_of: returns the page that is written as the report; without it there is no report.

    Raises:
        DataError, ContractError: a file cannot be read under the model's contract, or there are no
        rows; nothing is published, and an earlier scoring in `out` stays.
        QuarantineError: more rows are refused than the model's recipe allows; quarantine and
        manifest are published, predictions are not.
    """
    started = time.perf_counter()
    headers = _check_inputs(sources, model, out)
    with open_staging(out) as staging:
        jobs = _jobs(sources, headers, model, version, staging, output_format)
        commits: list[CommitRecord] = []
        for commit in (executor or ThreadExecutor()).run(jobs):
            commits.append(commit)
            if on_file is not None:
                on_file(len(commits), len(jobs))
        # From here on, all files are scored; nothing is published yet.
        _check_row_counts(commits)
        if not any(commit.rows for commit in commits):
            staging.discard_commits()
            names = listed((source.name for source in sources), SHOWN_FILES)
            raise DataError(
                f"{names}: no rows to score: a header, and nothing under it, or not even that"
            )
        seconds = time.perf_counter() - started
        manifest = build_manifest(commits, skipped or SkippedFiles(), model, version, seconds)
        quarantines = [job.quarantine_path for job in jobs]
        merge_quarantines(commits, quarantines, staging.path / QUARANTINE)
        shown_reasons = list(manifest.reasons)[:EXAMPLE_REASONS]
        examples = reason_examples(shown_reasons, commits, staging.path / QUARANTINE)
        staging.write_report(None if page_of is None else page_of(manifest, examples))
        write_record(staging.path / MANIFEST, manifest)
        targets = [job.target for job in jobs]
        staging.publish(out, targets, with_predictions=manifest.state == "scored")
    if manifest.state == "refused":
        raise _refusal(manifest, examples, batch_limit(model), out)
    return manifest


def _check_inputs(
    sources: Sequence[TableSource], model: Model, out: Path
) -> list[KnownHeader | None]:
    """Check the columns and folders of all files; return the headers that take long to read.

    This happens before the first file is scored, so that a wrong column in the last one is reported
    at once.
    """
    headers: list[KnownHeader | None] = []
    for source in sources:
        has_header = READERS[source.format].has_header
        stamp = [] if has_header else source.stamp()
        reader = TableReader(source, model.contract)
        check_no_column_is_added_twice(reader, model)
        headers.append(None if has_header else KnownHeader(reader.reader.header, stamp))
    for source in sources:
        path = Path(source.path)
        # The path of an object in a bucket begins with the bucket, and is none of this machine.
        if path.is_absolute() and path.resolve().is_relative_to(out.resolve()):
            raise DataError(
                f"{source.name} lies in {out} itself, where predictions would take its place: name "
                "another --out"
            )
    return headers


def _jobs(
    sources: Sequence[TableSource],
    headers: Sequence[KnownHeader | None],
    model: Model,
    version: str,
    staging: StagingDirectory,
    output_format: OutputFormat,
) -> list[ScoringJob]:
    is_single_file = len(sources) == 1 and "/" not in sources[0].relative
    # Workers may have other working directories, so all paths are absolute.
    resolved_staging = StagingDirectory(staging.path.resolve())
    jobs = []
    for position, (source, header) in enumerate(zip(sources, headers, strict=True)):
        target = f"{PREDICTIONS}/{source.stem}.{output_format}"
        if is_single_file:
            target = f"{PREDICTIONS}.{output_format}"
        job = ScoringJob(
            source=source,
            model_path=model.path.resolve(),
            model_digest=model.digest,
            model_version=version,
            staging=resolved_staging,
            target=target,
            output_format=output_format,
            position=position,
            known_header=header,
        )
        jobs.append(job)
    return jobs


def _check_row_counts(commits: Sequence[CommitRecord]) -> None:
    """Check that every row that was read is in the predictions or in the quarantine.

    Raises:
        CrecheError: a file has rows that are in neither, or in both.
    """
    for commit in commits:
        written = commit.scored + commit.quarantined
        if written != commit.rows:
            raise CrecheError(
                f"{commit.file}: {commit.rows} rows were read and {written} written, which is a "
                "defect of creche: nothing was published"
            )


def _refusal(
    manifest: "ScoringManifest",
    examples: Mapping[str, ReasonExample],
    limit: float,
    out: Path,
) -> QuarantineError:
    """Return the error of a refused batch.

    Args:
        manifest: of the batch.
        examples: reason → an example.
        limit: the share of rows (0..1) that may be quarantined.
    """
    texts = []
    for reason, rows in list(manifest.reasons.items())[:MESSAGE_REASONS]:
        example = examples.get(reason)
        texts.append(f"{rows} × {reason}{'' if example is None else example.for_message}")
    reasons = "; ".join(texts)
    if manifest.quarantined == manifest.rows:
        return QuarantineError(
            f"none of the {manifest.rows:,} rows can be scored, for each breaks the contract: "
            f"{reasons}; they are in {out / QUARANTINE}"
        )
    return QuarantineError(
        f"{manifest.quarantined} of {manifest.rows} rows break the contract, more than the "
        f"{limit:.0%} that this model's recipe allows in a batch: {reasons}; no predictions were "
        f"written, the rows are in {out / QUARANTINE}"
    )
