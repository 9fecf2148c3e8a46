"""The types that a column can have, one class each.

A new type is a class in a module of `creche.contract.types` with its entry in `COLUMN_TYPES`, and
its name in `Column.kind` (`creche.contract.column`). What else names the types, by module of
`creche`:

- `model.encoders`, `model.graph_builder`: where it can be a feature and no encoder of another kind
  fits, its encoder and its input of the graph; a new encoding is a key in `recipe.encodings`
- `contract.expression_operands`: what its values are in a rule across columns
- `data.expectations`: where it has rules of its own
- `data.table_reader`, `data.expectations`, `scoring.single_row`, `registry.mlflow_model`: where a
  row of it is no scalar

A type parses single cells and Arrow columns, names the rules, checks what a recipe states, gives
the arrays that a model takes, and summarizes the training rows. Arrow, numpy and Pillow are
imported inside the methods that need them, so that `creche predict` starts at once.
"""

from collections.abc import Mapping

from creche.contract.types.base import UNSEEN_CATEGORY, ColumnType
from creche.contract.types.bins import BinsType
from creche.contract.types.boolean import BooleanType
from creche.contract.types.category import CategoryType
from creche.contract.types.date import DateType
from creche.contract.types.image import ImageType
from creche.contract.types.number import NumberType
from creche.contract.types.text import TextType

__all__ = [
    "COLUMN_TYPES",
    "UNSEEN_CATEGORY",
    "BinsType",
    "BooleanType",
    "CategoryType",
    "ColumnType",
    "DateType",
    "ImageType",
    "NumberType",
    "TextType",
]

COLUMN_TYPES: Mapping[str, ColumnType] = {
    column_type.kind: column_type
    for column_type in (
        NumberType(),
        CategoryType(),
        BooleanType(),
        BinsType(),
        DateType(),
        TextType(),
        ImageType(),
    )
}
