"""The quarantined rows of all files in one file."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from creche.data.quarantine import ORIGIN
from creche.scoring.writer import group_rows, open_writer


def merge_quarantines(paths: Sequence[Path], target: Path) -> None:
    """Write the quarantined rows of several files into one.

    It has every column of every file, as text, or as bytes where one file has bytes.

    Args:
        paths: the quarantine of each file, in order.
    """
    # With pre-buffering, Arrow keeps all that it has read.
    files = [pq.ParquetFile(path, pre_buffer=False) for path in paths]
    schema = _merged_schema([file.schema_arrow for file in files])
    with open_writer(target, schema, "parquet") as writer:
        for file in files:
            for batch in file.iter_batches(group_rows(schema)):
                writer.write(batch)
            file.close()


def _merged_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            if field.name in ORIGIN.names:
                continue
            is_new = field.name not in types
            if is_new or field.type == pa.binary():
                types[field.name] = pa.binary() if field.type == pa.binary() else pa.string()
    return pa.schema([*types.items(), *ORIGIN])
