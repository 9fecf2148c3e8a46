"""Images: encoded pictures in, pixels of the contract's size out, or the reason why not.

Pixels are uint8 of shape (n, height, width, channels), as Pillow and numpy have them. In a table of Arrow they are a column
of fixed-size binary. The accepted pixels of a data version are kept once under the home; the tables of a run name their
paths there.
"""

import hashlib
import io
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche.contract import Column, Contract
from creche.errors import DataError
from creche.project import ProjectPaths, atomic_write

PIXELS = "pixels"  # folder under the home
PIXELS_KEY = b"creche.pixels"  # key of a table's schema metadata: the column that holds paths, and the file that they are in
MAX_PIXELS = 50_000_000  # pixels of one picture, decoded
MAX_FILE_BYTES = 4 * MAX_PIXELS  # bytes of one picture, encoded
NO_PICTURE = "not a picture"
TOO_LARGE = f"more than {MAX_PIXELS:,} pixels"
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class RefusedError(ValueError):
    """A picture is readable, but not what the column states."""


def decode(content: bytes, column: Column) -> np.ndarray:
    """The pixels (height, width, channels) of one encoded picture, upright as its EXIF says.

    Raises:
        ValueError: it cannot be had, or is not what the column states; the message is the reason.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")
    from PIL import Image, UnidentifiedImageError

    _hush()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return _pixels(picture, column)
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise ValueError(NO_PICTURE) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(TOO_LARGE) from None
    except Exception:  # of damaged bytes Pillow raises whatever its readers stumble over
        raise ValueError("cut short or damaged") from None


@cache
def _hush() -> None:
    """No warnings of Pillow's: they name no picture, and what it reads in spite of them is what it shows."""
    warnings.filterwarnings("ignore", module="PIL")


def _pixels(picture: Any, column: Column) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width, channels = column.shape
    if getattr(picture, "n_frames", 1) > 1:
        raise RefusedError("several frames")
    if picture.width * picture.height > MAX_PIXELS:
        raise RefusedError(TOO_LARGE)
    if picture.mode in DEEP or any(
        ";16" in str(tile) for tile in picture.tile
    ):  # Pillow drops the lower byte of RGB
        raise RefusedError("more than 8 bits a channel")
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        raise RefusedError(f"{picture.mode} colors")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "P":
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    elif upright.mode == "1":
        upright = upright.convert("L")
    if upright.mode in ("RGBA", "LA", "PA") and upright.getchannel("A").getextrema() == (255, 255):
        upright = upright.convert("L" if upright.mode == "LA" else "RGB")
    if upright.mode not in ("L", "RGB"):
        raise RefusedError("transparent pixels")
    if len(upright.getbands()) != channels:
        raise RefusedError(
            {1: "color where gray is meant", 3: "gray where color is meant"}[channels]
        )
    if upright.size != (width, height):
        if not column.resize:
            raise RefusedError(f"not {width}×{height} pixels")
        upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(upright, np.uint8).reshape(column.shape)


def decoded(
    contents: Iterable[bytes | None], count: int, column: Column
) -> tuple[pa.Array, list[tuple[str, np.ndarray]]]:
    """Encoded pictures (n) as fixed-size binary, null where there is none, and by reason the mask (n,) of those refused."""
    found = np.zeros((count, *column.shape), np.uint8)
    missing = np.zeros(count, bool)
    refused: dict[str, np.ndarray] = {}
    for i, content in enumerate(contents):
        try:
            if content is not None:
                found[i] = decode(content, column)
                continue
        except ValueError as error:
            refused.setdefault(str(error), np.zeros(count, bool))[i] = True
        missing[i] = True
    return as_column(found, missing), list(refused.items())


def as_column(pixels: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """Pixels (n, height, width, channels) as fixed-size binary, null where the mask (n,) says so."""
    flat = np.ascontiguousarray(pixels, np.uint8)
    size = int(np.prod(flat.shape[1:]))
    valid = None if missing is None else pa.array(~missing).buffers()[1]
    return pa.Array.from_buffers(pa.binary(size), len(flat), [valid, pa.py_buffer(flat)])


def pixels(cells: pa.Array | pa.ChunkedArray, column: Column) -> np.ndarray:
    """Fixed-size binary without nulls as pixels (n, height, width, channels)."""
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks() if cells.num_chunks != 1 else cells.chunk(0)
    size = int(np.prod(column.shape))
    found: np.ndarray = np.frombuffer(
        cells.buffers()[1] or b"", np.uint8, len(cells) * size, cells.offset * size
    )
    return found.reshape(-1, *column.shape)


def spread(cells: pa.Array, channels: int) -> np.ndarray:
    """How far the shades of each picture (n,) lie apart, in the channel where they do most; NaN for a null."""
    width = cells.type.byte_width
    flat = np.frombuffer(
        cells.buffers()[1] or b"", np.uint8, len(cells) * width, cells.offset * width
    )
    dots = flat.reshape(len(cells), -1, channels)
    found = (dots.max(axis=1) - dots.min(axis=1)).max(axis=1).astype(np.float64)  # (n,)
    return np.where(np.asarray(cells.is_valid()), found, np.nan)


def blank(cells: pa.Array, channels: int) -> np.ndarray:
    """Mask (n,) of pictures of one color, on which nothing can be seen; a null is none."""
    found: np.ndarray = spread(cells, channels) == 0
    return found


def columns(table: pa.Table, contract: Contract) -> dict[str, np.ndarray]:
    """What a model takes: by name numbers and text (n,), and pixels (n, height, width, channels)."""
    return {
        n: pixels(table[n], c) if c.kind == "image" else table[n].to_numpy()
        for n, c in contract.columns.items()
    }


def detach(table: pa.Table, name: str, paths: ProjectPaths) -> pa.Table:
    """The table with its image column replaced by paths in a file under the home, which is called by its content."""
    cells = table[name].combine_chunks()
    width = cells.type.byte_width
    flat = np.frombuffer(
        cells.buffers()[1] or b"", np.uint8, len(cells) * width, cells.offset * width
    )
    digest = hashlib.sha256(flat.data).hexdigest()
    kept = paths.home / PIXELS / f"{digest}.npy"
    if kept.is_file():
        kept.touch()  # to whoever clears up, it is in use before a table names it
    else:
        with atomic_write(kept) as part, part.open("wb") as file:
            np.save(file, flat.reshape(len(cells), width))
    table = table.set_column(table.column_names.index(name), name, pa.array(np.arange(len(cells))))
    return table.replace_schema_metadata(
        {**(table.schema.metadata or {}), PIXELS_KEY: f"{name}/{digest}"}
    )


def read(path: Path, paths: ProjectPaths) -> pa.Table:
    """A run's table, with its images where it has some.

    Raises:
        DataError: their pixels are not under the home any more.
    """
    table = pq.read_table(path)
    told = (table.schema.metadata or {}).get(PIXELS_KEY)
    if told is None:
        return table
    name, digest = told.decode().rsplit("/", 1)
    kept = paths.home / PIXELS / f"{digest}.npy"
    if not kept.is_file():
        raise DataError(
            f"{kept} is gone, to which {path} points: run validate again, and the steps after it"
        )
    found = np.load(kept, mmap_mode="r")[table[name].to_numpy()]
    return table.set_column(
        table.column_names.index(name), name, as_column(found[:, None, :, None])
    )
