"""Decode pictures into pixels of the column's size, or into the reason why they are refused.

Pixels are uint8 of shape (n, height, width, channels), as Pillow and numpy have them; in an Arrow
table they are a column of fixed-size binary.
"""

import io
import math
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from creche.contract.arrow_cells import ConversionError
from creche.contract.column import Column

MAX_PIXELS = 50_000_000  # of one picture, decoded
MAX_FILE_BYTES = 4 * MAX_PIXELS  # of one picture, encoded
NO_PICTURE = "not a picture"
TOO_LARGE = f"more than {MAX_PIXELS:,} pixels"
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # of Pillow, with more than 8 bits
OTHER_COLOR_SPACES = ("CMYK", "YCbCr", "LAB", "HSV")
ALPHA_MODES = ("RGBA", "LA", "PA")


class RefusedPictureError(ValueError):
    """A picture is readable, but not what the column states; the message is the reason."""


def decode(content: bytes, column: Column) -> np.ndarray:
    """Return the pixels (height, width, channels) of one encoded picture, rotated as its EXIF says.

    Raises:
        ValueError: it cannot be decoded, or is not what the column states; the message is the
            reason.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")
    from PIL import Image, UnidentifiedImageError

    _silence_pillow()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            _check_readable(picture)
            return _to_pixels(picture, column)
    except RefusedPictureError:
        raise
    except UnidentifiedImageError:
        raise ValueError(NO_PICTURE) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(TOO_LARGE) from None
    except Exception:
        # Pillow's readers raise errors of many types at damaged bytes.
        raise ValueError("cut short or damaged") from None


@cache
def _silence_pillow() -> None:
    """Ignore Pillow's warnings, which name no picture: what it reads in spite of them is used."""
    warnings.filterwarnings("ignore", module="PIL")


def _check_readable(picture: Any) -> None:
    if getattr(picture, "n_frames", 1) > 1:
        raise RefusedPictureError("several frames")
    if picture.width * picture.height > MAX_PIXELS:
        raise RefusedPictureError(TOO_LARGE)
    # Pillow drops the lower byte of 16-bit RGB without a warning.
    has_deep_tile = any(";16" in str(tile) for tile in picture.tile)
    if picture.mode in DEEP_MODES or has_deep_tile:
        raise RefusedPictureError("more than 8 bits a channel")
    if picture.mode in OTHER_COLOR_SPACES:
        raise RefusedPictureError(f"{picture.mode} colors")


def _to_pixels(picture: Any, column: Column) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width, channels = column.shape
    upright = _without_palette_and_alpha(ImageOps.exif_transpose(picture))
    if upright.mode not in ("L", "RGB"):
        raise RefusedPictureError("transparent pixels")
    if len(upright.getbands()) != channels:
        expected = {1: "color where gray is expected", 3: "gray where color is expected"}
        raise RefusedPictureError(expected[channels])
    if upright.size != (width, height):
        if not column.resize:
            raise RefusedPictureError(f"not {width}×{height} pixels")
        upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(upright, np.uint8).reshape(column.shape)


def _without_palette_and_alpha(picture: Any) -> Any:
    """Return a picture as gray or RGB where nothing is lost by that."""
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode not in ALPHA_MODES:
        return picture
    is_opaque = picture.getchannel("A").getextrema() == (255, 255)
    if not is_opaque:
        return picture
    return picture.convert("L" if picture.mode == "LA" else "RGB")


def decode_all(
    contents: Iterable[bytes | None], count: int, column: Column
) -> tuple[pa.Array, list[ConversionError]]:
    """Return encoded pictures as fixed-size binary, null where missing or refused, and the errors.

    Args:
        count: number of the contents.
    """
    decoded = np.zeros((count, *column.shape), np.uint8)
    is_missing = np.zeros(count, bool)
    masks: dict[str, np.ndarray] = {}
    for i, content in enumerate(contents):
        if content is None:
            is_missing[i] = True
            continue
        try:
            decoded[i] = decode(content, column)
        except ValueError as error:
            mask = masks.setdefault(str(error), np.zeros(count, bool))
            mask[i] = True
            is_missing[i] = True
    errors = [ConversionError(reason, mask) for reason, mask in masks.items()]
    return as_column(decoded, is_missing), errors


def to_pixels(cells: pa.Array, column: Column) -> tuple[pa.Array, list[ConversionError]]:
    """Return cells as pixels in fixed-size binary, null where missing or refused, and the errors.

    Args:
        cells: encoded pictures, or pixels in fixed-size binary.
    """
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    size = math.prod(column.shape)
    is_fixed_size = pa.types.is_fixed_size_binary(cells.type)
    if is_fixed_size and cells.type.byte_width == size:
        return cells, []
    if is_binary(cells.type) and not is_fixed_size:
        return decode_all((cell.as_py() for cell in cells), len(cells), column)
    reason = NO_PICTURE
    if is_fixed_size:
        reason = f"not {column.width}×{column.height} pixels"
    error = ConversionError(reason, np.asarray(cells.is_valid()))
    return pa.nulls(len(cells), pa.binary(size)), [error]


def is_binary(arrow_type: pa.DataType) -> bool:
    """Whether a column's cells are bytes."""
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(check(arrow_type) for check in checks)


def as_column(pixel_array: np.ndarray, is_missing: np.ndarray | None = None) -> pa.Array:
    """Return pixels (n, height, width, channels) as fixed-size binary.

    Args:
        is_missing: mask of the nulls (n,); None: there are none.
    """
    flat = np.ascontiguousarray(pixel_array, np.uint8)
    size = int(np.prod(flat.shape[1:]))
    validity = None if is_missing is None else pa.array(~is_missing).buffers()[1]
    return pa.Array.from_buffers(pa.binary(size), len(flat), [validity, pa.py_buffer(flat)])


def pixels(cells: pa.Array | pa.ChunkedArray, column: Column) -> np.ndarray:
    """Return fixed-size binary without nulls as pixels (n, height, width, channels)."""
    if isinstance(cells, pa.ChunkedArray):
        # One chunk is used as it is, without a copy.
        cells = cells.chunk(0) if cells.num_chunks == 1 else cells.combine_chunks()
    size = int(np.prod(column.shape))
    content = cells.buffers()[1] or b""
    flat = np.frombuffer(content, np.uint8, len(cells) * size, cells.offset * size)
    return flat.reshape(-1, *column.shape)


def color_range(cells: pa.Array, channels: int) -> np.ndarray:
    """Return the largest range of values in one channel of each picture (n,); NaN for a null."""
    size = cells.type.byte_width
    content = cells.buffers()[1] or b""
    flat = np.frombuffer(content, np.uint8, len(cells) * size, cells.offset * size)
    by_pixel = flat.reshape(len(cells), -1, channels)
    ranges = by_pixel.max(axis=1) - by_pixel.min(axis=1)  # (n, channels)
    return np.where(np.asarray(cells.is_valid()), ranges.max(axis=1).astype(np.float64), np.nan)


def single_color_mask(cells: pa.Array, channels: int) -> np.ndarray:
    """Return the mask (n,) of pictures of one color; a null is none."""
    mask: np.ndarray = color_range(cells, channels) == 0
    return mask
