"""Decode images into pixels of the column's size, or into the reason why they are refused.

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

from creche.contract.arrow_cells import ConversionError, is_binary
from creche.contract.column import Column

MAX_PIXELS = 50_000_000  # of one image, decoded
MAX_FILE_BYTES = 4 * MAX_PIXELS  # of one image, encoded
NOT_AN_IMAGE = "not an image"
TOO_LARGE = f"more than {MAX_PIXELS:,} pixels"
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # of Pillow, with more than 8 bits
OTHER_COLOR_SPACES = ("CMYK", "YCbCr", "LAB", "HSV")
ALPHA_MODES = ("RGBA", "LA", "PA")
# The mode with alpha into which a mode is converted that has one transparent color (tRNS of PNG).
ALPHA_MODE_OF = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
BITS_5_6_5 = "BGR;16"  # Pillow's name of 16 bits a pixel, 8 a channel at most
MPO = "MPO"  # of cameras and phones: a JPEG, with further images or maps behind it


class RefusedImageError(ValueError):
    """An image is readable, but not what the column states; the message is the reason."""


def decode(content: bytes, column: Column) -> np.ndarray:
    """Return the pixels (height, width, channels) of one encoded image, rotated as its EXIF says.

    Raises:
        ValueError: it cannot be decoded, or is not what the column states; the message is the
            reason.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")
    from PIL import Image, UnidentifiedImageError

    _silence_pillow()
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_readable(image)
            return _to_pixels(image, column)
    except RefusedImageError:
        raise
    except UnidentifiedImageError:
        raise ValueError(NOT_AN_IMAGE) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(TOO_LARGE) from None
    except Exception:
        # Pillow's readers raise errors of many types at damaged bytes.
        raise ValueError("cut short or damaged") from None


@cache
def _silence_pillow() -> None:
    """Ignore Pillow's warnings, which name no image: what it reads in spite of them is used."""
    warnings.filterwarnings("ignore", module="PIL")


def _check_readable(image: Any) -> None:
    # Of an MPO, Pillow opens the first frame, which is the one that all programs show.
    if getattr(image, "n_frames", 1) > 1 and image.format != MPO:
        raise RefusedImageError("several frames")
    if image.width * image.height > MAX_PIXELS:
        raise RefusedImageError(TOO_LARGE)
    # Pillow drops the lower byte of 16-bit RGB without a warning.
    raw_modes = [str(tile).replace(BITS_5_6_5, "") for tile in image.tile]
    has_deep_tile = any(";16" in raw_mode for raw_mode in raw_modes)
    if image.mode in DEEP_MODES or has_deep_tile:
        raise RefusedImageError("more than 8 bits a channel")
    if image.mode in OTHER_COLOR_SPACES:
        raise RefusedImageError(f"{image.mode} colors")


def _to_pixels(image: Any, column: Column) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width, channels = column.shape
    upright = _without_palette_and_alpha(ImageOps.exif_transpose(image))
    if upright.mode not in ("L", "RGB"):
        raise RefusedImageError("transparent pixels")
    if len(upright.getbands()) != channels:
        expected = {1: "color where gray is expected", 3: "gray where color is expected"}
        raise RefusedImageError(expected[channels])
    if upright.size != (width, height):
        if not column.resize:
            raise RefusedImageError(f"not {width}×{height} pixels")
        upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(upright, np.uint8).reshape(column.shape)


def _without_palette_and_alpha(image: Any) -> Any:
    """Return an image as gray or RGB where nothing is lost by that."""
    if "transparency" in image.info and image.mode in ALPHA_MODE_OF:
        image = image.convert(ALPHA_MODE_OF[image.mode])
    elif image.mode == "P":
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in ALPHA_MODES:
        return image
    is_opaque = image.getchannel("A").getextrema() == (255, 255)
    if not is_opaque:
        return image
    return image.convert("L" if image.mode == "LA" else "RGB")


def decode_all(
    contents: Iterable[bytes | None], count: int, column: Column
) -> tuple[pa.Array, list[ConversionError]]:
    """Return encoded images as fixed-size binary, null where missing or refused, and the errors.

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
        cells: encoded images, or pixels in fixed-size binary.
    """
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    size = math.prod(column.shape)
    is_fixed_size = pa.types.is_fixed_size_binary(cells.type)
    if is_fixed_size and cells.type.byte_width == size:
        return cells, []
    if is_binary(cells.type) and not is_fixed_size:
        return decode_all((cell.as_py() for cell in cells), len(cells), column)
    reason = NOT_AN_IMAGE
    if is_fixed_size:
        reason = f"not {column.width}×{column.height} pixels"
    error = ConversionError(reason, np.asarray(cells.is_valid()))
    return pa.nulls(len(cells), pa.binary(size)), [error]


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
    """Return the largest range of values in one channel of each image (n,); NaN for a null."""
    if not len(cells):
        return np.zeros(0)
    size = cells.type.byte_width
    content = cells.buffers()[1] or b""
    flat = np.frombuffer(content, np.uint8, len(cells) * size, cells.offset * size)
    by_pixel = flat.reshape(len(cells), -1, channels)
    ranges = by_pixel.max(axis=1) - by_pixel.min(axis=1)  # (n, channels)
    return np.where(np.asarray(cells.is_valid()), ranges.max(axis=1).astype(np.float64), np.nan)


def single_color_mask(cells: pa.Array, channels: int) -> np.ndarray:
    """Return the mask (n,) of images of one color; a null is none."""
    mask: np.ndarray = color_range(cells, channels) == 0
    return mask
