"""Dates and times."""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from creche.contract.column import Column
from creche.contract.dates import (
    ISO,
    MAX_SECONDS,
    MIN_SECONDS,
    DateFormat,
    microseconds,
    parse_date,
    zone_info,
)
from creche.contract.rules import EarliestRule, LatestRule, Rule
from creche.contract.statistics import DateStatistics
from creche.contract.types.date_checks import bound_of, check_bounds, check_format
from creche.contract.types.key_checks import (
    refuse_keys_of_other_kinds,
    refuse_number_keys,
    refuse_values,
)
from creche.contract.types.measured import MeasuredType, histogram_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

ISO_EXAMPLE = "2020-01-31 14:30"
MICROSECONDS = 1e6  # in a second
NOT_A_MOMENT = "not a date, nor the seconds since 1970"


class DateType(MeasuredType):
    """A date or time: a moment in UTC, which a model takes as the seconds since 1970."""

    kind = "date"
    encodings = "use date-parts, or {date_parts: [year, month, weekday, day, hour, elapsed]}"
    changes = "use {add: SECONDS} or null"
    onnx_input_type = "tensor(double)"
    statistics_type = DateStatistics
    golden_cell_type = float | None

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        refuse_number_keys(name, column)
        refuse_values(name, column)
        self._check_image_keys(name, column)
        for form in column.formats:
            check_format(f"columns.{name}.formats", form)
        if column.time_zone is not None:
            try:
                zone_info(column.time_zone)
            except ValueError as error:
                raise ValueError(
                    f"columns.{name}.time_zone: {error} of this machine: use a name such as "
                    "Europe/Berlin, or install the package tzdata"
                ) from None
        check_bounds(name, column)

    def rules(self, name: str, column: Column) -> list[Rule]:
        rules = super().rules(name, column)
        if column.earliest is not None:
            earliest = bound_of(column.earliest, column.time_zone, is_last=False)
            rules.append(EarliestRule(name, f"{name}: before {column.earliest}", earliest))
        if column.latest is not None:
            latest = bound_of(column.latest, column.time_zone, is_last=True)
            rules.append(LatestRule(name, f"{name}: after {column.latest}", latest))
        return rules

    def row_key_options(self, column: Column) -> list[Any]:
        return [] if column.time_zone is None else [column.time_zone]

    def parse(self, cell: object, column: Column) -> datetime | None:
        return parse_date(cell, column.missing_spellings, _format_of(column))

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_dates import to_dates

        return to_dates(cells, _format_of(column), cell_format)

    def model_array(self, cells: "pa.Array | pa.ChunkedArray", column: Column) -> "np.ndarray":
        """Return moments as seconds since 1970 (n,), float64, NaN where missing."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pc.fill_null(cells.cast(pa.int64()), 0)
        seconds = numbers.to_numpy(zero_copy_only=False) / MICROSECONDS
        return np.where(np.asarray(cells.is_null()), np.nan, seconds)

    def model_input(self, array: "np.ndarray", column: Column) -> "np.ndarray":
        """Return moments, or their seconds since 1970, as doubles (n, 1).

        Raises:
            ValueError: a value is neither.
        """
        import numpy as np

        values = np.asarray(array)
        if values.dtype == object:
            values = np.array([_seconds_of(value) for value in values], np.float64)
        elif values.dtype.kind == "M":
            is_missing = np.isnat(values)
            numbers = values.astype("datetime64[us]").astype(np.int64)
            values = np.where(is_missing, np.nan, numbers / MICROSECONDS)
        elif values.dtype.kind not in "iuf":
            raise ValueError(NOT_A_MOMENT)
        return values.astype(np.float64).reshape(-1, 1)

    def model_limits(self, column: Column) -> tuple[float, float]:
        smallest, largest = MIN_SECONDS, MAX_SECONDS
        if column.earliest is not None:
            smallest = _seconds(bound_of(column.earliest, column.time_zone, is_last=False))
        if column.latest is not None:
            largest = _seconds(bound_of(column.latest, column.time_zone, is_last=True))
        return smallest, largest

    def describe_values(self, column: Column) -> str:
        return self.describe_limits(column)

    def output_type(self, column: Column) -> "pa.DataType":
        import pyarrow as pa

        return pa.timestamp("us", "UTC")

    def statistics(self, array: "np.ndarray") -> DateStatistics:
        """Return count, range, median and a histogram of 20 equal bins."""
        import numpy as np

        return DateStatistics(
            rows=len(array),
            min=float(array.min()),
            max=float(array.max()),
            median=float(np.median(array)),
            histogram=histogram_of(array),
        )

    def golden_edges(self, array: "np.ndarray", column: Column) -> list[Any]:
        """Return the range of the training rows, NaN, and moments a second beyond the limits."""
        seconds = self.model_input(array, column)
        smallest, largest = self.model_limits(column)
        return [float(seconds.min()), float(seconds.max()), None, smallest - 1, largest + 1]

    def golden_cell(self, value: Any) -> float | None:
        return None if value is None else _seconds_of(value)

    def describe_limits(self, column: Column) -> str:
        limits = []
        if column.earliest is not None:
            limits.append(f"from {column.earliest}")
        if column.latest is not None:
            limits.append(f"to {column.latest}")
        forms = [ISO_EXAMPLE if form == ISO else form for form in column.formats or (ISO,)]
        parts = [" ".join(limits)] if limits else []
        parts.append(f"as {' or '.join(forms)}")
        if column.time_zone is not None:
            parts.append(f"in {column.time_zone}")
        return ", ".join(parts)


def _seconds(moment: datetime) -> float:
    """Return the seconds since 1970 of a moment with a zone."""
    return microseconds(moment) / MICROSECONDS


def _seconds_of(value: object) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(NOT_A_MOMENT)


def _format_of(column: Column) -> DateFormat:
    return _date_format(column.formats, column.time_zone)


@cache
def _date_format(formats: tuple[str, ...], time_zone: str | None) -> DateFormat:
    return DateFormat(formats, time_zone)
