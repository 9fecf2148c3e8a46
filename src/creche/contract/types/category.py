"""Categories."""

from typing import TYPE_CHECKING

from creche.contract.cells import is_fraction
from creche.contract.column import Column
from creche.contract.rules import AllowedValuesRule, Rule
from creche.contract.types.base import ColumnType, refuse_number_keys
from creche.errors import listed

if TYPE_CHECKING:
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError


class CategoryType(ColumnType):
    """One of several values, which the recipe lists or the training rows show."""

    kind = "category"
    onnx_input_type = "tensor(string)"
    missing_cell = ""
    is_discrete = True
    is_dictionary = True

    def check(self, name: str, column: Column) -> None:
        refuse_number_keys(name, column)
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
