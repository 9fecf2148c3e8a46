"""Free text."""

from typing import TYPE_CHECKING

from creche.contract.column import Column
from creche.contract.types.base import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from creche.contract.arrow_cells import CellFormat, ConversionError


class TextType(ColumnType):
    """Free text: carried along, grouped by, sliced by, but not a feature."""

    kind = "text"
    encodings = "remove it from features, for text is not encoded"
    changes = "use a text"
    is_discrete = True

    def convert(
        self, cells: "pa.Array", column: Column, cell_format: "CellFormat"
    ) -> "tuple[pa.Array, list[ConversionError]]":
        from creche.contract.arrow_cells import to_texts

        return to_texts(cells, cell_format)
