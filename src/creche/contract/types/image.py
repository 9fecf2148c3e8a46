"""Images."""

import base64
from typing import TYPE_CHECKING, Any

from creche.contract.column import Column
from creche.contract.rules import SINGLE_COLOR, Rule, SingleColorRule
from creche.contract.statistics import ColumnStatistics, ImageStatistics
from creche.contract.types.base import ColumnType
from creche.contract.types.key_checks import (
    refuse_keys_of_other_kinds,
    refuse_number_keys,
    refuse_values,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

BRIGHTNESS_BINS = 20


class ImageType(ColumnType):
    """An image: encoded, or as pixels in fixed-size binary."""

    kind = "image"
    encodings = "use standardize or {mean: NUMBER, std: NUMBER}"
    changes = "use mirror, or {times: NUMBER, add: NUMBER}"
    onnx_input_type = "tensor(uint8)"
    statistics_type = ImageStatistics
    is_image = True

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        refuse_number_keys(name, column)
        refuse_values(name, column)
        if not all((column.width, column.height, column.channels)):
            raise ValueError(
                f"columns.{name}: an image states width, height and channels: add those that are "
                "missing"
            )
        if column.missing == "allow":
            raise ValueError(
                f"columns.{name}.missing: is allow, and the column is an image, without which "
                "there is nothing to predict from: remove this key"
            )

    def row_key_options(self, column: Column) -> list[Any]:
        return [*column.shape]

    def rules(self, name: str, column: Column) -> list[Rule]:
        channels = column.channels or 0
        single_color = SingleColorRule(name, f"{name}: {SINGLE_COLOR}", channels)
        return [*super().rules(name, column), single_color]

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.images import to_pixels

        return to_pixels(cells, column)

    def model_array(self, cells: "pa.Array | pa.ChunkedArray", column: Column) -> "np.ndarray":
        from creche.contract.images import pixels

        return pixels(cells, column)

    def model_input(self, array: "np.ndarray", column: Column) -> "np.ndarray":
        return array

    def describe_values(self, column: Column) -> str:
        height, width, channels = column.shape
        return f"{width} × {height} pixels, {channels} channels, 0 to 255"

    def statistics(self, array: "np.ndarray") -> ImageStatistics:
        """Return mean, deviation and histogram of the images' mean brightness, 0 to 255."""
        import numpy as np

        brightness = array.reshape(len(array), -1).mean(axis=1)  # (n,), 0..255
        histogram = np.histogram(brightness, bins=BRIGHTNESS_BINS, range=(0, 255))[0]
        return ImageStatistics(
            rows=len(array),
            mean=float(brightness.mean()),
            std=float(brightness.std()),
            brightness=histogram.tolist(),
        )

    def noise(
        self,
        column: Column,
        statistics: ColumnStatistics,
        rows: int,
        random: "np.random.Generator",
    ) -> "np.ndarray":
        """Return images of which every value is 0 or 255, drawn by itself.

        Values from the whole range average out in a network's first layers, which then take the
        image for a plain one.
        """
        import numpy as np

        return 255 * random.integers(0, 2, (rows, *column.shape), np.uint8)

    def golden_array(self, cells: list[Any], column: Column) -> "np.ndarray":
        import numpy as np

        flat = b"".join(base64.b64decode(cell) for cell in cells)
        return np.frombuffer(flat, np.uint8).reshape(-1, *column.shape)
