"""The quarantined rows of all files in one file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from creche.data.quarantine import ORIGIN
from creche.scoring.staging import CommitRecord
from creche.scoring.writer import group_rows, open_writer

BINARY = "binary"
TEXT = "text"


def quarantine_columns(schema: pa.Schema) -> dict[str, str]:
    """Return the columns of a quarantine as a commit record has them: name → text or binary."""
    columns = {}
    for field in schema:
        if field.name not in ORIGIN.names:
            columns[field.name] = BINARY if field.type == pa.binary() else TEXT
    return columns


def merge_quarantines(commits: Iterable[CommitRecord], paths: Sequence[Path], target: Path) -> None:
    """Write the quarantined rows of several files into one.

    It has every column of every file, as text, or as bytes where one file has bytes. One file is
    open at a time, so that their number does not matter.

    Args:
        commits: of each file, in order.
        paths: the quarantine of each; it is not there where no row is refused.
    """
    commits = list(commits)
    schema = _merged_schema([commit.quarantine_columns for commit in commits])
    with open_writer(target, schema, "parquet") as writer:
        for commit, path in zip(commits, paths, strict=True):
            if not commit.quarantined:
                continue
            # With pre-buffering, Arrow keeps all that it has read.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(group_rows(schema)):
                    writer.write(batch)


def _merged_schema(columns_by_file: Iterable[dict[str, str]]) -> pa.Schema:
    kinds: dict[str, str] = {}
    for columns in columns_by_file:
        for name, kind in columns.items():
            if name not in kinds or kind == BINARY:
                kinds[name] = kind
    fields = []
    for name, kind in kinds.items():
        fields.append((name, pa.binary() if kind == BINARY else pa.string()))
    return pa.schema([*fields, *ORIGIN])
