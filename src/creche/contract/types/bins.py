"""Bins: numbers as classes, divided at edges."""

import math
from bisect import bisect_right
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from creche.contract.cells import parse_number, spell_number, spell_text
from creche.contract.column import Column
from creche.contract.rules import Rule
from creche.contract.types.base import ColumnType
from creche.contract.types.category import CategoryType
from creche.contract.types.key_checks import (
    refuse_keys_of_other_kinds,
    refuse_limits,
    refuse_values,
)
from creche.contract.types.number import check_number_format, check_units

if TYPE_CHECKING:
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError


class BinsType(CategoryType):
    """The class of a number: `below 8`, `8 to below 11` or `11 or more`.

    A text that is the name of a class is accepted too, so that labels can be compared with
    predictions.
    """

    kind = "bins"
    encodings = "use one-hot, ordinal or thermometer"
    changes = "use the name of a class, a number in quotes, or null"
    encodes_as = "category"
    is_dictionary = False

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        refuse_limits(name, column)
        refuse_values(name, column)
        self._check_image_keys(name, column)
        check_units(name, column)
        check_number_format(name, column)
        _check_edges(name, column)

    def allowed_values(self, column: Column) -> tuple[str, ...]:
        return _names(column.edges)

    def row_key_options(self, column: Column) -> list[Any]:
        return [*column.edges]

    def rules(self, name: str, column: Column) -> list[Rule]:
        # Every number is in one of the bins.
        return ColumnType.rules(self, name, column)

    def canonical_value(self, text: str, column: Column) -> str:
        return self.parse(text, column) or text

    def parse(self, cell: object, column: Column) -> str | None:
        names = _names(column.edges)
        if isinstance(cell, str) and spell_text(cell) in names:
            return spell_text(cell)
        decimal_mark = column.stated_decimal_mark or "."
        number = parse_number(cell, column.missing_spellings, decimal_mark, column.number_format)
        return None if number is None else names[bisect_right(column.edges, number)]

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_bins import to_bins

        return to_bins(cells, column.edges, _names(column.edges), cell_format)

    def has_fractions(self, column: Column) -> bool:
        return True

    def describe_limits(self, column: Column) -> str:
        unit = f" ({column.unit})" if column.unit else ""
        return self.describe_values(column) + unit


@cache
def _names(edges: tuple[float, ...]) -> tuple[str, ...]:
    """Return the names of the classes between the edges, from low to high."""
    texts = [spell_number(float(edge)) for edge in edges]
    names = [f"below {texts[0]}"]
    for lower, upper in pairwise(texts):
        names.append(f"{lower} to below {upper}")
    names.append(f"{texts[-1]} or more")
    return tuple(names)


def _check_edges(name: str, column: Column) -> None:
    """Check that the edges divide the numbers into classes.

    Raises:
        ValueError: there are none, or they are not in order.
    """
    edges = column.edges
    if not edges:
        raise ValueError(
            f"columns.{name}.edges: are not stated: list the numbers at which a class begins, as "
            "[8, 11]"
        )
    are_finite = all(math.isfinite(edge) for edge in edges)
    if not are_finite or list(edges) != sorted(set(edges)):
        raise ValueError(
            f"columns.{name}.edges: are {', '.join(f'{edge:g}' for edge in edges)}: list finite "
            "numbers, each above the one before it"
        )
