"""What all column types share."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from creche.contract.cells import MISSING_TEXT, parse_text
from creche.contract.column import Column
from creche.contract.rules import RequiredRule, Rule
from creche.contract.statistics import ColumnStatistics, ValueStatistics
from creche.contract.types.key_checks import (
    refuse_keys_of_other_kinds,
    refuse_number_keys,
    refuse_values,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

CellValue = float | str | datetime | None  # None: missing
GOLDEN_VALUES = 100  # of one category
COUNTED_VALUES = 1000  # of one category
GOLDEN_VALUES = 100  # of one category
UNSEEN_CATEGORY = "\N{REPLACEMENT CHARACTER}"  # no vocabulary holds it


class ColumnType:
    """Base of all column types.

    Attributes:
        kind: its name in a recipe.
        encodings: the encodings that it takes as a feature, as a message says them.
        changes: the changes of a behavior test that it takes, as a message says them.
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
    encodings: str
    changes: str
    statistics_type: type[ColumnStatistics] = ValueStatistics
    onnx_input_type: str | None = None
    golden_cell_type: Any = str
    missing_cell: str | None = None
    is_image = False
    is_discrete = False
    is_dictionary = False

    @property
    def encodes_as(self) -> str:
        """The kind whose encoders it takes."""
        return self.kind

    def check(self, name: str, column: Column) -> None:
        """Check the keys of a column in a recipe.

        Raises:
            ValueError: a key does not fit the type.
        """
        refuse_keys_of_other_kinds(name, column)
        refuse_number_keys(name, column)
        refuse_values(name, column)
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

    def parse(self, cell: object, column: Column) -> CellValue:
        """Return the value of one cell, None where it is missing.

        Raises:
            ValueError: it is of another type; the message is the reason.
        """
        return parse_text(cell, column.missing_spellings, column.stated_decimal_mark or ".")

    def canonical_value(self, text: str, column: Column) -> str:
        """Return a value that a recipe names, as `where: {color: red}`, in its canonical spelling.

        Raises:
            ValueError: it is no value of the type.
        """
        return text

    def allowed_values(self, column: Column) -> tuple[str, ...] | None:
        """Return the values of a closed list of them, in its order; None: there is no such list."""
        return None

    def row_key_options(self, column: Column) -> list[Any]:
        """Return the keys of the column, beside kind and unit, that its row keys depend on."""
        return []

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
        import pyarrow as pa

        if isinstance(cells, pa.ChunkedArray) and pa.types.is_dictionary(cells.type):
            # In place of a null, pyarrow 25 returns a value of the dictionary from such an array.
            cells = cells.cast(cells.type.value_type)
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
        return ", ".join(column.allowed_values or ())

    def output_type(self, column: Column) -> "pa.DataType":
        """Return the Arrow type of the column's values in a file of predictions."""
        import pyarrow as pa

        return pa.string()

    def statistics(self, array: "np.ndarray") -> ColumnStatistics:
        """Return baseline statistics of the training rows: rows by value, of the most frequent
        ones.
        """
        most_frequent = Counter(array.tolist()).most_common(COUNTED_VALUES)
        return ValueStatistics(rows=len(array), counts=dict(sorted(most_frequent)))

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

    def golden_cell(self, value: Any) -> float | str | None:
        """Return a value as the JSON cell of a golden row."""
        if value is None:
            return self.missing_cell
        return value if isinstance(value, str) else float(value)

    def golden_array(self, cells: list[Any], column: Column) -> "np.ndarray":
        """Return the JSON cells of golden rows as the array that a model takes."""
        import numpy as np

        return np.array(cells, dtype=object)

    def describe_limits(self, column: Column) -> str:
        """Return the values that the column allows, for a person."""
        return self.describe_values(column)


def _without_none(texts: "np.ndarray") -> "np.ndarray":
    """Return an array of objects with the empty text in place of None."""
    import numpy as np

    is_none = np.equal(texts, None)  # type: ignore[call-overload]
    if not is_none.any():
        return texts
    filled: np.ndarray = np.where(is_none, MISSING_TEXT, texts)
    return filled
