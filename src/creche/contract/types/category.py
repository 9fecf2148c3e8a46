"""Categories."""

import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from creche.contract.cells import MISSING_TEXT, is_fraction, parse_text
from creche.contract.column import Column
from creche.contract.rules import AllowedValuesRule, Rule
from creche.contract.types.base import ColumnType
from creche.contract.types.key_checks import refuse_keys_of_other_kinds, refuse_number_keys
from creche.errors import listed

if TYPE_CHECKING:
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError


class CategoryType(ColumnType):
    """One of several values, which the recipe lists or the training rows show."""

    kind = "category"
    encodings = "use one-hot or ordinal, {embedding: {width: 8}}, or of ordered values thermometer"
    changes = "use a text or null"
    onnx_input_type = "tensor(string)"
    missing_cell = MISSING_TEXT
    is_discrete = True
    is_dictionary = True

    def check(self, name: str, column: Column) -> None:
        refuse_keys_of_other_kinds(name, column)
        refuse_number_keys(name, column)
        self._check_image_keys(name, column)
        _check_values(name, column)

    def allowed_values(self, column: Column) -> tuple[str, ...] | None:
        return column.values

    def rules(self, name: str, column: Column) -> list[Rule]:
        rules = super().rules(name, column)
        if column.values is not None:
            reason = f"{name}: not one of {listed(column.values)}"
            rules.append(AllowedValuesRule(name, reason, column.values))
        return rules

    def row_key_options(self, column: Column) -> list[Any]:
        return sorted(column.normalize)

    def canonical_value(self, text: str, column: Column) -> str:
        return _normalized(text, column)

    def parse(self, cell: object, column: Column) -> str | None:
        decimal_mark = column.stated_decimal_mark or "."
        text = parse_text(cell, column.missing_spellings, decimal_mark)
        return None if text is None else _normalized(text, column)

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_cells import to_categories

        texts, errors = to_categories(cells, cell_format)
        if not column.normalize:
            return texts, errors
        from creche.contract.arrow_texts import map_texts

        normalized, _ = map_texts(texts, lambda text: _normalized(text, column))
        return normalized, errors

    def has_fractions(self, column: Column) -> bool:
        return any(is_fraction(value) for value in column.values or ())

    def output_type(self, column: Column) -> "pa.DataType":
        import pyarrow as pa

        if column.allowed_values is None:
            return pa.string()
        return pa.dictionary(pa.int16(), pa.string())


def _normalized(text: str, column: Column) -> str:
    """Return a text as the recipe lists it, without differences that it normalizes.

    A text that it does not list is in lower case where case makes no difference.
    """
    if not column.normalize:
        return text
    plain = _without_differences(text, column.normalize)
    return _listed_values(column.values or (), column.normalize).get(plain, plain)


@cache
def _listed_values(values: tuple[str, ...], normalize: tuple[str, ...]) -> Mapping[str, str]:
    """Return each value by its text without the differences."""
    return {_without_differences(value, normalize): value for value in values}


def _without_differences(text: str, normalize: tuple[str, ...]) -> str:
    if "spaces" in normalize:
        text = " ".join(text.split())
    if "case" in normalize:
        # Some capital letters with a diacritic become two characters.
        text = unicodedata.normalize("NFC", text.lower())
    return text


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
            raise ValueError(
                f"columns.{name}.values: '{value}' is stated twice: remove one of them"
            )
    if len(_listed_values(values, column.normalize)) < len(values):
        raise ValueError(
            f"columns.{name}.normalize: two of the values differ in nothing else: list one of "
            "them, or remove normalize"
        )
