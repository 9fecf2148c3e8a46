"""The types that a column can have, one class each.

A new type is a class here with its entry in `COLUMN_TYPES`, and its name in `Column.kind`
(`creche.contract.column`). What else names the types, by module of `creche`:

- `recipe.checks`: which encodings and which changes of behavior tests a type takes; a new encoding
  is a key in `recipe.encodings`
- `model.encoders`, `model.graph_builder`: where it can be a feature, its encoder and its input of
  the graph
- `registry.mlflow_model`: its MLflow schema
- `data.table_reader`, `data.expectations`, `scoring.single_row`: where a row of it is no scalar

A type parses single cells and Arrow columns, names the rules, checks what a recipe states, gives
the arrays that a model takes, and summarizes the training rows. Arrow, numpy and Pillow are
imported inside the methods that need them, so that `creche predict` starts at once.
"""

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from creche.contract.cells import (
    FLOAT32_MAX,
    NOT_A_NUMBER,
    is_fraction,
    parse_number,
    parse_text,
)
from creche.contract.column import Column
from creche.contract.rules import (
    SINGLE_COLOR,
    AllowedValuesRule,
    MaximumRule,
    MinimumRule,
    RequiredRule,
    Rule,
    SingleColorRule,
)
from creche.contract.statistics import (
    ColumnStatistics,
    ImageStatistics,
    NumberStatistics,
    ValueStatistics,
)
from creche.errors import listed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

HISTOGRAM_BINS = 20
GOLDEN_VALUES = 100  # of one category
UNSEEN_CATEGORY = "\N{REPLACEMENT CHARACTER}"  # no vocabulary holds it


class ColumnType:
    """Base of all column types.

    Attributes:
        kind: its name in a recipe.
        statistics_type: what `statistics` returns.
        golden_cell_type: of a cell of a golden row, in JSON.
        missing_cell: a missing value in a golden row.
        onnx_input_type: of its input in the model file, as onnxruntime names it; None where it
            cannot be a feature.
        is_image: whether a row of it is an array of pixels instead of one cell.
        is_discrete: whether its values can be listed, so that slices and conditions can name them.
        is_dictionary: whether a reader should return it as an Arrow dictionary, so that a value is
            processed once.
    """

    kind: str
    statistics_type: type[ColumnStatistics] = ValueStatistics
    onnx_input_type: str | None = None
    golden_cell_type: Any = str
    missing_cell: str | None = None
    is_image = False
    is_discrete = False
    is_dictionary = False

    def check(self, name: str, column: Column) -> None:
        """Check the keys of a column in a recipe.

        Raises:
            ValueError: a key does not fit the type.
        """
        _refuse_number_keys(name, column)
        _refuse_values(name, column)
        self._check_image_keys(name, column)

    def _check_image_keys(self, name: str, column: Column) -> None:
        if any((column.width, column.height, column.channels, column.resize)):
            raise ValueError(
                f"columns.{name}: width, height, channels and resize are for an image, and the "
                f"kind is {self.kind}: remove them"
            )

    def rules(self, name: str, column: Column) -> list[Rule]:
        """Return the rules that the column states, in the order in which reasons are listed."""
        if column.required and column.missing == "refuse":
            return [RequiredRule(name, f"{name}: missing")]
        return []

    def parse(self, cell: object, column: Column) -> float | str | None:
        """Return the value of one cell, None where it is missing.

        Raises:
            ValueError: it is of another type; the message is the reason.
        """
        return parse_text(cell, column.missing_spellings, column.decimal_mark or ".")

    def has_fractions(self, column: Column) -> bool:
        """Whether a file of text may write its values with a decimal mark."""
        return False

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        """Return Arrow cells as values, null where missing or not convertible, and the errors."""
        raise NotImplementedError

    def model_array(self, cells: "pa.Array | pa.ChunkedArray", column: Column) -> "np.ndarray":
        """Return accepted values as the array that a model takes.

        Its shape is (n,), or (n, height, width, channels) of images. A missing number is NaN, any
        other missing value the empty text.
        """
        array: np.ndarray = cells.to_numpy(zero_copy_only=False)
        if array.dtype == object and cells.null_count:
            array = _without_none(array)
        return array

    def model_input(self, array: "np.ndarray", column: Column) -> "np.ndarray":
        """Return such an array as the input of the ONNX graph: strings (n, 1)."""
        import numpy as np

        return _without_none(np.asarray(array, object)).reshape(-1, 1)

    def model_limits(self, column: Column) -> tuple[float, float] | None:
        """Return the limits of `Column.model_limits`."""
        return None

    def describe_values(self, column: Column) -> str:
        """Return the allowed values in words, for the model card."""
        return ", ".join(column.values or ())

    def output_type(self, column: Column) -> "pa.DataType":
        """Return the Arrow type of the column's values in a file of predictions."""
        import pyarrow as pa

        return pa.string()

    def statistics(self, array: "np.ndarray") -> ColumnStatistics:
        """Return baseline statistics of the training rows: rows by value."""
        import numpy as np

        values, counts = np.unique(array.astype(str), return_counts=True)
        rows_by_value = dict(zip(values.tolist(), counts.tolist(), strict=True))
        return ValueStatistics(rows=len(array), counts=rows_by_value)

    def noise(
        self,
        column: Column,
        statistics: ColumnStatistics,
        rows: int,
        random: "np.random.Generator",
    ) -> "np.ndarray":
        """Return values at random that the model takes, whatever the training rows are like.

        Args:
            column: of the type.
            statistics: of the training rows.
            rows: number of the values.
            random: source of the values.
        """
        seen = list(statistics["counts"])  # type: ignore[typeddict-item]
        values: np.ndarray = random.choice(seen, rows).astype(object)
        return values

    def golden_edges(self, array: "np.ndarray", column: Column) -> list[Any]:
        """Return edge cases to be recorded as golden rows, None of a missing value.

        Args:
            array: the values of the training rows, those that are missing left out.
            column: of the type.
        """
        edges: list[Any] = [*sorted(set(array))[:GOLDEN_VALUES], UNSEEN_CATEGORY]
        if column.missing == "allow":
            edges.append(None)
        return edges

    def golden_array(self, cells: list[Any], column: Column) -> "np.ndarray":
        """Return the JSON cells of golden rows as the array that a model takes."""
        import numpy as np

        return np.array(cells, dtype=object)

    def limits(self, column: Column) -> str:
        """Return the values that the column allows, for a person."""
        return self.describe_values(column)


class NumberType(ColumnType):
    """A number, in the unit of its column."""

    kind = "number"
    onnx_input_type = "tensor(float)"
    statistics_type = NumberStatistics
    golden_cell_type = float | None

    def check(self, name: str, column: Column) -> None:
        if column.units and column.unit is None:
            raise ValueError(
                f"columns.{name}: units are for a number that states its unit: add unit, or remove "
                "units"
            )
        for unit, factor in column.units.items():
            if not 0 < factor < math.inf:
                raise ValueError(
                    f"columns.{name}.units.{unit}: is {factor:g}: state how many {column.unit} one "
                    f"{unit} is, above 0"
                )
        _refuse_values(name, column)
        self._check_image_keys(name, column)
        limits = [limit for limit in (column.min, column.max) if limit is not None]
        are_finite = all(math.isfinite(limit) for limit in limits)
        if not are_finite or limits != sorted(limits):
            raise ValueError(
                f"columns.{name}: min is {column.min} and max is {column.max}: they must be "
                "finite, and min must not lie above max"
            )

    def rules(self, name: str, column: Column) -> list[Rule]:
        rules = super().rules(name, column)
        unit = f" {column.unit}" if column.unit else ""
        if column.min is not None:
            rules.append(MinimumRule(name, f"{name}: below {column.min:g}{unit}", column.min))
        if column.max is not None:
            rules.append(MaximumRule(name, f"{name}: above {column.max:g}{unit}", column.max))
        return rules

    def parse(self, cell: object, column: Column) -> float | str | None:
        return parse_number(cell, column.missing_spellings, column.decimal_mark or ".")

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_cells import to_numbers

        return to_numbers(cells, cell_format)

    def has_fractions(self, column: Column) -> bool:
        return True

    def model_input(self, array: "np.ndarray", column: Column) -> "np.ndarray":
        import numpy as np

        _refuse_booleans(array)
        # A number beyond float32 becomes infinite, which the graph predicts as unknown.
        with np.errstate(over="ignore"):
            return np.asarray(array, np.float32).reshape(-1, 1)

    def model_limits(self, column: Column) -> tuple[float, float]:
        import numpy as np

        smallest = -FLOAT32_MAX if column.min is None else max(column.min, -FLOAT32_MAX)
        largest = FLOAT32_MAX if column.max is None else min(column.max, FLOAT32_MAX)
        return float(np.float32(smallest)), float(np.float32(largest))

    def output_type(self, column: Column) -> "pa.DataType":
        import pyarrow as pa

        return pa.float64()

    def statistics(self, array: "np.ndarray") -> NumberStatistics:
        """Return count, range, mean, standard deviation and a histogram of 20 equal bins."""
        import numpy as np

        bins_range = _histogram_range(float(array.min()), float(array.max()))
        counts, edges = np.histogram(array, HISTOGRAM_BINS, bins_range)
        return NumberStatistics(
            rows=len(array),
            min=float(array.min()),
            max=float(array.max()),
            mean=float(array.mean()),
            std=float(array.std()),
            histogram={"counts": counts.tolist(), "edges": edges.tolist()},
        )

    def noise(
        self,
        column: Column,
        statistics: ColumnStatistics,
        rows: int,
        random: "np.random.Generator",
    ) -> "np.ndarray":
        """Return numbers between the limits, from a range three times that of the training rows."""
        import numpy as np

        smallest, largest = statistics["min"], statistics["max"]  # type: ignore[typeddict-item]
        width = largest - smallest
        numbers = random.uniform(smallest - width, largest + width, rows)
        return np.clip(numbers, *self.model_limits(column))

    def golden_edges(self, array: "np.ndarray", column: Column) -> list[Any]:
        """Return the range of the training rows, NaN, and the first numbers beyond the limits."""
        import numpy as np

        edges = [array.min(), array.max(), None]
        smallest, largest = self.model_limits(column)
        # Beyond the largest float32, where no limit is stated, it is infinite.
        with np.errstate(over="ignore"):
            below = np.nextafter(np.float32(smallest), np.float32(-np.inf))
            above = np.nextafter(np.float32(largest), np.float32(np.inf))
        return [*edges, *(edge for edge in (below, above) if np.isfinite(edge))]

    def golden_array(self, cells: list[Any], column: Column) -> "np.ndarray":
        import numpy as np

        return np.array(cells, dtype=np.float64)  # None becomes NaN

    def limits(self, column: Column) -> str:
        parts = []
        if column.min is not None:
            parts.append(f"from {column.min:g}")
        if column.max is not None:
            parts.append(f"to {column.max:g}")
        parts.append(column.unit or "")
        return " ".join(parts).rstrip()


class TextType(ColumnType):
    """Free text: carried along, grouped by, sliced by, but not a feature."""

    kind = "text"
    is_discrete = True

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_cells import to_texts

        return to_texts(cells, cell_format)


class CategoryType(ColumnType):
    """One of several values, which the recipe lists or the training rows show."""

    kind = "category"
    onnx_input_type = "tensor(string)"
    missing_cell = ""
    is_discrete = True
    is_dictionary = True

    def check(self, name: str, column: Column) -> None:
        _refuse_number_keys(name, column)
        self._check_image_keys(name, column)
        _check_values(name, column)

    def rules(self, name: str, column: Column) -> list[Rule]:
        rules = super().rules(name, column)
        if column.values is not None:
            reason = f"{name}: not one of {listed(column.values)}"
            rules.append(AllowedValuesRule(name, reason, column.values))
        return rules

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_cells import to_categories

        return to_categories(cells, cell_format)

    def has_fractions(self, column: Column) -> bool:
        return any(is_fraction(value) for value in column.values or ())

    def output_type(self, column: Column) -> "pa.DataType":
        import pyarrow as pa

        if column.values is None:
            return pa.string()
        return pa.dictionary(pa.int16(), pa.string())


class ImageType(ColumnType):
    """An image: encoded, or as pixels in fixed-size binary."""

    kind = "image"
    onnx_input_type = "tensor(uint8)"
    statistics_type = ImageStatistics
    is_image = True

    def check(self, name: str, column: Column) -> None:
        _refuse_number_keys(name, column)
        _refuse_values(name, column)
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
        histogram = np.histogram(brightness, bins=HISTOGRAM_BINS, range=(0, 255))[0]
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


def _without_none(texts: "np.ndarray") -> "np.ndarray":
    """Return an array of objects with the empty text in place of None."""
    import numpy as np

    is_none = np.equal(texts, None)  # type: ignore[call-overload]
    if not is_none.any():
        return texts
    filled: np.ndarray = np.where(is_none, "", texts)
    return filled


def _refuse_booleans(array: "np.ndarray") -> None:
    """Check that an array of numbers holds no boolean, which numpy would take for 0 or 1.

    Raises:
        ValueError: it holds one.
    """
    import numpy as np

    values = np.asarray(array)
    is_boolean = values.dtype == np.bool_
    if values.dtype == object:
        is_boolean = any(isinstance(value, bool | np.bool_) for value in values.ravel())
    if is_boolean:
        raise ValueError(NOT_A_NUMBER)


def _histogram_range(smallest: float, largest: float) -> tuple[float, float]:
    """Return the ends of a histogram of numbers in this range, which is widened where it is too
    narrow for bins that float64 tells apart.
    """
    import numpy as np

    resolution = float(np.spacing(max(abs(smallest), abs(largest))))
    least_width = 2 * HISTOGRAM_BINS * resolution
    if largest - smallest > least_width:
        return smallest, largest
    margin = max(0.5, least_width)
    return smallest - margin, largest + margin


def _refuse_number_keys(name: str, column: Column) -> None:
    if column.units:
        raise ValueError(
            f"columns.{name}: units are for a number, and the kind is {column.kind}: remove units"
        )
    if column.min is not None or column.max is not None:
        raise ValueError(
            f"columns.{name}: min and max are for a number, and the kind is {column.kind}: remove "
            "them"
        )


def _check_values(name: str, column: Column) -> None:
    """Check that each of a category's values can occur in a file, and is stated once."""
    values = column.values or ()
    if column.ordered and not values:
        raise ValueError(
            f"columns.{name}.ordered: is true, and no values are listed: list them under values, "
            "from low to high, or remove ordered"
        )
    for value in values:
        if value.lower() in column.missing_spellings:
            raise ValueError(
                f"columns.{name}.values: '{value}' is read as a missing value; where it is one of "
                f"the categories, state the spellings of a missing value: columns.{name}."
                "missing_values, empty ([]) if only an empty cell is one"
            )
        if values.count(value) > 1:
            raise ValueError(f"columns.{name}.values: '{value}' is stated twice")


def _refuse_values(name: str, column: Column) -> None:
    if column.values is not None:
        raise ValueError(
            f"columns.{name}: values are for a category, and the kind is {column.kind}: remove "
            "values, or use kind category"
        )
    if column.unseen != "unknown" or column.ordered:
        raise ValueError(
            f"columns.{name}: unseen and ordered are for a category, and the kind is "
            f"{column.kind}: remove them"
        )


COLUMN_TYPES: Mapping[str, ColumnType] = {
    column_type.kind: column_type
    for column_type in (NumberType(), CategoryType(), TextType(), ImageType())
}
