"""Yes or no: a category of two values."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from creche.contract.cells import parse_text, spell_text
from creche.contract.column import Column
from creche.contract.rules import Rule
from creche.contract.types.base import ColumnType
from creche.contract.types.category import CategoryType
from creche.contract.types.key_checks import (
    refuse_keys_of_other_kinds,
    refuse_number_keys,
    refuse_values,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError

TRUE = "true"
FALSE = "false"
NOT_A_BOOLEAN = "neither true nor false"
TRUE_SPELLINGS = ("t", "yes", "y", "on", "1")
FALSE_SPELLINGS = ("f", "no", "n", "off", "0")


class BooleanType(CategoryType):
    """One of the texts `true` and `false`, however a file spells them."""

    kind = "boolean"
    encodings = "use one-hot or ordinal"
    changes = 'use "true", "false" or null'
    encodes_as = "category"

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        refuse_number_keys(name, column)
        refuse_values(name, column)
        self._check_image_keys(name, column)
        _check_spellings(name, column)

    def allowed_values(self, column: Column) -> tuple[str, ...]:
        return (FALSE, TRUE)

    def rules(self, name: str, column: Column) -> list[Rule]:
        # Whatever is converted is one of the two values.
        return ColumnType.rules(self, name, column)

    def canonical_value(self, text: str, column: Column) -> str:
        return _spell(text, column)

    def parse(self, cell: object, column: Column) -> str | None:
        text = parse_text(cell, column.missing_spellings, column.stated_decimal_mark or ".")
        return None if text is None else _spell(text, column)

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_texts import map_texts

        texts, errors = super().convert(cells, column, cell_format)
        booleans, errors_of_texts = map_texts(texts, lambda text: _spell(text, column))
        return booleans, [*errors, *errors_of_texts]

    def has_fractions(self, column: Column) -> bool:
        return False


def _spell(text: str, column: Column) -> str:
    value = _values_by_spelling(column.true_values, column.false_values).get(text.lower())
    if value is None:
        raise ValueError(NOT_A_BOOLEAN)
    return value


@cache
def _values_by_spelling(
    true_values: tuple[str, ...] | None, false_values: tuple[str, ...] | None
) -> Mapping[str, str]:
    """Return spelling in lower case → `true` or `false`."""
    values = {TRUE: TRUE, FALSE: FALSE}
    for spelling in _spellings(true_values, TRUE_SPELLINGS):
        values[spelling] = TRUE
    for spelling in _spellings(false_values, FALSE_SPELLINGS):
        values[spelling] = FALSE
    return values


def _spellings(stated: tuple[str, ...] | None, usual: tuple[str, ...]) -> set[str]:
    return {spell_text(spelling).lower() for spelling in (usual if stated is None else stated)}


def _check_spellings(name: str, column: Column) -> None:
    """Check that no spelling stands for both values, or for a missing one.

    Raises:
        ValueError: one does.
    """
    of_true = {TRUE, *_spellings(column.true_values, TRUE_SPELLINGS)}
    of_false = {FALSE, *_spellings(column.false_values, FALSE_SPELLINGS)}
    for spelling in sorted(of_true & of_false):
        raise ValueError(
            f"columns.{name}: '{spelling}' is a spelling of both true and false: state true_values "
            "and false_values, with no spelling in both"
        )
    for spelling in sorted((of_true | of_false) & column.missing_spellings):
        raise ValueError(
            f"columns.{name}: '{spelling}' is read as a missing value: remove it from true_values, "
            f"false_values or columns.{name}.missing_values"
        )
