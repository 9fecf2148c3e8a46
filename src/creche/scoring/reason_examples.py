"""An example of each of the most frequent reasons for which rows were quarantined."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.contract.arrow_cells import is_binary
from creche.data.quarantine import ReasonExample, find_example
from creche.scoring.staging import CommitRecord

ROWS_AT_ONCE = 1000
MAX_ROWS = 20_000  # quarantined rows among which an example is looked for


def reason_examples(
    reasons: Iterable[str], commits: Sequence[CommitRecord], quarantine: Path
) -> dict[str, ReasonExample]:
    """Return reason → an example, for those that have one among the first rows of the quarantine.

    Args:
        reasons: as the quarantine has them.
        commits: of each file.
        quarantine: the file of the quarantined rows.
    """
    columns_by_source = {commit.file: commit.quarantined_as for commit in commits}
    examples: dict[str, ReasonExample] = {}
    pending = list(reasons)
    rows_read = 0
    for rows in _quarantined_rows(quarantine):
        # A scoring may have thousands of files, and these rows are of few.
        own_columns = {}
        for source in pc.unique(rows["source"]).to_pylist():
            own_columns[source] = columns_by_source[source]
        for reason in pending:
            example = find_example(reason, rows, own_columns, names_file=len(commits) > 1)
            if example is not None:
                examples[reason] = example
        pending = [reason for reason in pending if reason not in examples]
        rows_read += rows.num_rows
        if not pending or rows_read >= MAX_ROWS:
            break
    return examples


def _quarantined_rows(path: Path) -> Iterator[pa.Table]:
    """Yield the rows of a quarantine, some at a time, without the columns of bytes.

    Images have no text to show, and are large.
    """
    # With pre-buffering, Arrow keeps all that it has read.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        names = [field.name for field in file.schema_arrow if not is_binary(field.type)]
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
            yield pa.Table.from_batches([batch])
