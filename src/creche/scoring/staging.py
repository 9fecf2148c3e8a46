"""The staging directory: outputs that are not whole yet, inside the output folder.

Each file that is scored leaves its predictions, its quarantined rows and a commit record. A scoring
that was killed finds the commit records when it is started again and scores only the other files.
When all files are done, the outputs are published by renames within the file system.

    OUT/.creche-work/commits/3.json            commit record of the fourth file
    OUT/.creche-work/quarantined/3.parquet     its refused rows, if it has any
    OUT/.creche-work/predictions/…             predictions, under their final names
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from creche.errors import DataError
from creche.project import MANIFEST, PREDICTIONS, QUARANTINE, SCORING_REPORT, read_json
from creche.scoring.label_sums import LabelSums
from creche.scoring.manifest import find_manifest
from creche.scoring.writer import OutputFormat

STAGING_DIRECTORY = ".creche-work"
OUTPUT_FILES = frozenset(
    {MANIFEST, SCORING_REPORT, QUARANTINE, PREDICTIONS}
    | {f"{PREDICTIONS}.{output_format}" for output_format in get_args(OutputFormat)}
)


@dataclass(frozen=True)
class CommitKey:
    """What the outputs of a file depend on: where it changes, they are not used again."""

    file: str
    stamp: list[int]  # of the file, by `TableSource.stamp`
    model_digest: str
    model_version: str
    target: str
    creche_version: str
    reading: dict[str, Any]  # how the file is read


@dataclass(frozen=True)
class CommitRecord:
    """The outcome of one file, written when its outputs are whole."""

    key: CommitKey
    file: str
    format: str
    predictions: str  # file below the output folder
    sha256: str
    rows: int
    scored: int
    quarantined: int
    reasons: dict[str, int]  # reason → rows
    label_counts: list[int]  # rows by predicted class, `unknown` last
    ood_counts: list[int]  # rows by range of their OOD score, as `OOD_RANGES`
    label_sums: LabelSums | None  # None: the file has no column of the label
    quarantine_columns: dict[str, str]  # column of the quarantine → text or binary
    quarantined_as: dict[str, str]  # canonical name → column of the quarantine
    renamed: dict[str, str]  # name in the file → canonical name and unit factor

    def write(self, path: Path) -> None:
        """Write the record, after the outputs that it is of.

        It need not be on the disk at once: where it is lost, the file is scored again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> "CommitRecord | None":
        """Return the record that `write` left, None where there is none that can be used."""
        try:
            fields = read_json(path)
            fields["key"] = CommitKey(**fields["key"])
            if fields["label_sums"] is not None:
                fields["label_sums"] = LabelSums.from_json(fields["label_sums"])
            return cls(**fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            # The file is then scored again.
            return None


@dataclass(frozen=True)
class StagingDirectory:
    """Where the parts of a scoring lie until they are published."""

    path: Path

    def commit_path(self, position: int) -> Path:
        """Return the path of the commit record of one file, by its position among all."""
        return self.path / "commits" / f"{position}.json"

    def quarantine_path(self, position: int) -> Path:
        """Return the path of the refused rows of one file."""
        return self.path / "quarantined" / f"{position}.parquet"

    def has_commits(self) -> bool:
        return any((self.path / "commits").glob("*.json"))

    def discard_commits(self) -> None:
        """Delete the commit records, so that the directory is removed when the scoring ends."""
        shutil.rmtree(self.path / "commits", ignore_errors=True)

    def write_report(self, page: str | None) -> None:
        """Write the report; None: there is none, nor one that an interrupted scoring left."""
        path = self.path / SCORING_REPORT
        if page is None:
            path.unlink(missing_ok=True)
            return
        # The name of a file may have bytes that are no text.
        path.write_bytes(page.encode("utf-8", "backslashreplace"))

    def publish(self, out: Path, targets: Sequence[str], with_predictions: bool) -> None:
        """Rename the outputs to their places in `out`.

        The old manifest is removed first and the new one comes last: where there is a manifest, all
        that it names is whole.

        Args:
            targets: the files of predictions, relative to `out`.
            with_predictions: whether they are published, besides quarantine, report and manifest.

        Raises:
            DataError: a rename failed halfway.
            OSError: nothing is renamed yet, and the outputs of an earlier scoring are untouched.
        """
        self._delete_other_predictions(targets)
        (out / MANIFEST).unlink(missing_ok=True)
        # From here on, the earlier scoring is gone.
        try:
            self._replace_outputs(out, targets, with_predictions)
        except OSError as error:
            raise DataError(
                f"{out}: {error.strerror or error}, while the outputs were being published; they "
                "are incomplete and have no manifest: run the same command again to complete them"
            ) from None

    def _replace_outputs(self, out: Path, targets: Sequence[str], with_predictions: bool) -> None:
        shutil.rmtree(out / PREDICTIONS, ignore_errors=True)
        for name in OUTPUT_FILES - {PREDICTIONS}:
            (out / name).unlink(missing_ok=True)
        names = []
        if with_predictions:
            names = sorted({target.split("/")[0] for target in targets})
        if (self.path / SCORING_REPORT).is_file():
            names.append(SCORING_REPORT)
        for name in (*names, QUARANTINE, MANIFEST):
            (self.path / name).rename(out / name)

    def _delete_other_predictions(self, targets: Sequence[str]) -> None:
        """Delete what interrupted scorings left: of other files, or not whole."""
        own_files = set(targets)
        for path in self.path.glob(f"{PREDICTIONS}/**/*"):
            if path.is_file() and path.relative_to(self.path).as_posix() not in own_files:
                path.unlink()


@contextmanager
def open_staging(out: Path) -> Iterator[StagingDirectory]:
    """Open the staging directory of an output folder, for one scoring at a time.

    It is removed when the scoring ends well, or has committed nothing; else it stays, and the next
    scoring resumes from it.

    Raises:
        DataError: `out` cannot be written, holds something that no scoring wrote, has a manifest of
        another version, or another process scores into it.
    """
    staging = StagingDirectory(out / STAGING_DIRECTORY)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_no_foreign_files(out)
        staging.path.mkdir(exist_ok=True)
        lock = os.open(staging.path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    _lock(lock, staging, out)
    try:
        yield staging
        # All is published: what cannot be removed is removed by the next scoring.
        shutil.rmtree(staging.path, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{out}: {error.strerror or error}; nothing was published, start it again to go on"
        ) from None
    finally:
        if staging.path.is_dir() and not staging.has_commits():
            shutil.rmtree(staging.path, ignore_errors=True)
        os.close(lock)


def _lock(lock: int, staging: StagingDirectory, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The scoring that held the lock may just have ended, and removed the directory.
        if os.fstat(lock).st_ino != staging.path.stat().st_ino:
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        raise DataError(
            f"{out} is being scored into by another process: wait for it, or name another --out"
        ) from None


def _check_no_foreign_files(out: Path) -> None:
    """Check that everything in an output folder was written by a scoring.

    Raises:
        DataError: something was not, or the manifest is of another version of creche.
    """
    manifest = find_manifest(out / MANIFEST)
    own_names: set[str] = set()
    if manifest is not None or (out / STAGING_DIRECTORY).is_dir():
        own_names = {*OUTPUT_FILES, STAGING_DIRECTORY}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in own_names)
    if not foreign and manifest is not None:
        foreign = _foreign_predictions(out, {entry.predictions for entry in manifest.inputs})
    if foreign:
        raise DataError(
            f"{out} holds '{foreign[0]}', which no scoring left there: name an empty or new folder "
            "with --out"
        )


def _foreign_predictions(out: Path, own_files: set[str]) -> list[str]:
    """Return the files among the predictions that the manifest does not name."""
    files = []
    for path in out.glob(f"{PREDICTIONS}/**/*"):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name not in own_files:
            files.append(name)
    return sorted(files)
