"""Numbers, in the unit of their column."""

import math
import re
from typing import TYPE_CHECKING, Any

from creche.contract.cells import FLOAT32_MAX, parse_number
from creche.contract.column import Column
from creche.contract.number_format import NOT_A_NUMBER
from creche.contract.rules import MaximumRule, MinimumRule, Rule
from creche.contract.statistics import NumberStatistics
from creche.contract.types.key_checks import refuse_keys_of_other_kinds, refuse_values
from creche.contract.types.measured import MeasuredType, histogram_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

PART_OF_NUMBER = re.compile(r"[\s\d.,'+-]")


class NumberType(MeasuredType):
    """A number, in the unit of its column."""

    kind = "number"
    encodings = "use standardize, robust, passthrough or {divide: NUMBER}"
    changes = "use a number, null, or {times: NUMBER, add: NUMBER}"
    onnx_input_type = "tensor(float)"
    statistics_type = NumberStatistics
    golden_cell_type = float | None

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        check_units(name, column)
        check_number_format(name, column)
        refuse_values(name, column)
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
        decimal_mark = column.stated_decimal_mark or "."
        return parse_number(cell, column.missing_spellings, decimal_mark, column.number_format)

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
        return NumberStatistics(
            rows=len(array),
            min=float(array.min()),
            max=float(array.max()),
            mean=float(array.mean()),
            std=float(array.std()),
            histogram=histogram_of(array),
        )

    def golden_edges(self, array: "np.ndarray", column: Column) -> list[Any]:
        """Return the range of the training rows, NaN, and the first numbers beyond the limits."""
        import numpy as np

        edges = [array.min(), array.max(), None]
        smallest, largest = self.model_limits(column)
        # Beyond the largest float32 there is only infinity.
        with np.errstate(over="ignore"):
            below = np.nextafter(np.float32(smallest), np.float32(-np.inf))
            above = np.nextafter(np.float32(largest), np.float32(np.inf))
        return [*edges, *(edge for edge in (below, above) if np.isfinite(edge))]

    def describe_limits(self, column: Column) -> str:
        parts = []
        if column.min is not None:
            parts.append(f"from {column.min:g}")
        if column.max is not None:
            parts.append(f"to {column.max:g}")
        parts.append(column.unit or "")
        return " ".join(parts).rstrip()


def check_units(name: str, column: Column) -> None:
    """Check the further units of a column of numbers.

    Raises:
        ValueError: the column has no unit of its own, or a factor is none.
    """
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


def check_number_format(name: str, column: Column) -> None:
    """Check separator of thousands and signs of a column of numbers.

    Raises:
        ValueError: one of them could be part of a number itself.
    """
    if column.thousands is not None and column.thousands == column.decimal_mark:
        raise ValueError(
            f"columns.{name}.thousands: is '{column.thousands}', as decimal_mark is: state what "
            "groups the digits, or remove it"
        )
    for symbol in column.symbols:
        if not symbol.strip() or PART_OF_NUMBER.search(symbol):
            raise ValueError(
                f"columns.{name}.symbols: '{symbol}' may be part of a number: state signs without "
                "spaces, digits, points, commas, plus and minus, as $ or %"
            )


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
