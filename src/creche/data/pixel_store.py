"""The pixels of a data version, stored once under the home.

The tables of a run hold positions in that file in place of the pixels.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.contract import Contract
from creche.contract.images import as_column
from creche.errors import DataError
from creche.project import ProjectPaths, atomic_write

PIXELS_FOLDER = "pixels"  # under the home
# Key of a table's schema metadata: the column that holds positions, and the file that they are in.
PIXELS_KEY = b"creche.pixels"


def pixels_path(digest: str, paths: ProjectPaths) -> Path:
    """Return where pixels with this SHA-256 are stored."""
    return paths.home / PIXELS_FOLDER / f"{digest}.npy"


def detach_pixels(table: pa.Table, name: str, paths: ProjectPaths) -> pa.Table:
    """Store an image column in a file named by its content, and return the table with positions
    in that file instead.

    Args:
        name: of the column.
    """
    cells = table[name].combine_chunks()
    size = cells.type.byte_width
    content = cells.buffers()[1] or b""
    flat = np.frombuffer(content, np.uint8, len(cells) * size, cells.offset * size)
    digest = hashlib.sha256(flat.data).hexdigest()
    path = pixels_path(digest, paths)
    if path.is_file():
        # The time of change protects it from retention until a table refers to it.
        path.touch()
    else:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.save(file, flat.reshape(len(cells), size))
    positions = pa.array(np.arange(len(cells)))
    table = table.set_column(table.column_names.index(name), name, positions)
    metadata = dict(table.schema.metadata or {})
    metadata[PIXELS_KEY] = f"{name}/{digest}".encode()
    return table.replace_schema_metadata(metadata)


def read_table(
    path: Path,
    paths: ProjectPaths,
    columns: Sequence[str] | None = None,
    splits: Sequence[str] = (),
) -> pa.Table:
    """Read a run's table, with pixels in place of positions where it has images.

    Args:
        path: of the table.
        paths: of the project.
        columns: those that are read; by default all.
        splits: those whose rows are read; by default all rows.

    Raises:
        DataError: the pixels are not under the home any more.
    """
    table = pq.read_table(
        path,
        columns=None if columns is None else list(columns),
        filters=pc.field("split").isin(list(splits)) if splits else None,
    )
    reference = (table.schema.metadata or {}).get(PIXELS_KEY)
    if reference is None:
        return table
    name, digest = reference.decode().rsplit("/", 1)
    if name not in table.column_names:
        return table
    stored = pixels_path(digest, paths)
    if not stored.is_file():
        raise DataError(
            f"{stored} is gone, which {path} refers to: run validate again, and the steps after it"
        )
    rows = np.load(stored, mmap_mode="r")[table[name].to_numpy()]
    pixels = as_column(rows[:, None, :, None])
    return table.set_column(table.column_names.index(name), name, pixels)


def model_arrays(table: pa.Table, contract: Contract) -> dict[str, np.ndarray]:
    """Return the columns that a model takes, by name.

    Returns:
        Arrays of shape (n,) for numbers and text, (n, height, width, channels) for pixels.
    """
    arrays = {}
    for name, column in contract.columns.items():
        arrays[name] = column.type.model_array(table[name], column)
    return arrays
