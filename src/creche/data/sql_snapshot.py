"""The rows of a query as a Parquet file, which all steps of a run read.

The version is a digest of columns and rows, whatever the order of the rows: without ORDER BY a
database gives them in any. The file of the first snapshot with these rows is kept, and so its order
is that of every later run on this machine.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from creche.data.database_url import fill_in
from creche.data.plain_types import in_plain_types
from creche.data.query import blocks_of_query
from creche.data.rows_digest import RowsDigest
from creche.errors import DataError
from creche.project import ProjectPaths, atomic_write

SNAPSHOTS_FOLDER = "snapshots"  # under the home


@dataclass(frozen=True)
class Snapshot:
    """The rows that a query gave."""

    path: Path
    version: str  # digest of columns and rows


def snapshot_path(version: str, paths: ProjectPaths) -> Path:
    """Return where the snapshot of a version lies."""
    return paths.home / SNAPSHOTS_FOLDER / f"{version}.parquet"


def take_snapshot(sql: str, stated_url: str, paths: ProjectPaths) -> Snapshot:
    """Run a query once, and keep its rows.

    Args:
        stated_url: with environment variables, as the recipe has it.

    Raises:
        DataError: the query fails, or gives no rows or two columns of one name.
        UnreachableError: the database does not respond.
    """
    url = fill_in(stated_url)
    folder = paths.home / SNAPSHOTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        spool = _Spool(Path(temporary) / "blocks")
        for block in blocks_of_query(sql, url, paths.root):
            spool.write(_decoded(in_plain_types(block)))
        spool.close()
        if not spool.rows:
            raise DataError("data.sql: the query gives no rows: correct it, or fill the table")
        written = Path(temporary) / "snapshot.parquet"
        version = _write(spool, written)
        target = snapshot_path(version, paths)
        if not is_whole(target, version):
            with atomic_write(target) as part:
                written.rename(part)
    return Snapshot(target, version)


def is_whole(path: Path, version: str) -> bool:
    """Whether a file is the snapshot of a version, with all its rows."""
    if not path.is_file():
        return False
    try:
        file = pq.ParquetFile(path)
        digest = RowsDigest(file.schema_arrow)
        for batch in file.iter_batches():
            digest.add(batch)
    except (pa.ArrowInvalid, OSError):
        return False
    return digest.hexdigest() == version


def _write(spool: "_Spool", path: Path) -> str:
    """Write the blocks of a query with one type for each column; return their version."""
    schema = pa.schema([pa.field(name, kind) for name, kind in spool.types.items()])
    digest = RowsDigest(schema)
    with pq.ParquetWriter(path, schema) as writer:
        for block in spool.blocks():
            columns = [column.cast(field.type) for column, field in zip(block, schema, strict=True)]
            batch = pa.RecordBatch.from_arrays(columns, schema=schema)
            digest.add(batch)
            writer.write_batch(batch)
    return digest.hexdigest()


def _decoded(block: pa.RecordBatch) -> pa.RecordBatch:
    """Return a block without dictionaries, whose values may differ from block to block."""
    columns = []
    for column in block.columns:
        is_dictionary = pa.types.is_dictionary(column.type)
        columns.append(column.dictionary_decode() if is_dictionary else column)
    return pa.RecordBatch.from_arrays(columns, names=block.schema.names)


class _Spool:
    """Blocks on the disk, each with types of its own, and the types that hold those of all."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.types: dict[str, pa.DataType] = {}
        self._path = path
        self._file = pa.OSFile(str(path), "wb")

    def write(self, block: pa.RecordBatch) -> None:
        for field in block.schema:
            known = self.types.get(field.name, field.type)
            self.types[field.name] = _common_type(known, field.type)
        self.rows += block.num_rows
        with pa.ipc.new_stream(self._file, block.schema) as writer:
            writer.write_batch(block)

    def close(self) -> None:
        self._file.close()

    def blocks(self) -> Iterator[pa.RecordBatch]:
        size = self._path.stat().st_size
        with pa.OSFile(str(self._path), "rb") as file:
            while file.tell() < size:
                yield from pa.ipc.open_stream(file)


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return a type that holds the values of both; text where no other one does."""
    schemas = [pa.schema([("x", first)]), pa.schema([("x", second)])]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
