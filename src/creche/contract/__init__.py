"""The contract: columns, their types, and the rules that refuse a value.

Importing it needs no more than the standard library, so that `creche predict` starts at once.
"""

from creche.contract.cells import MISSING_VALUES, normalize_name, parse_number, parse_text
from creche.contract.column import Column
from creche.contract.column_types import COLUMN_TYPES, ColumnType
from creche.contract.contract import Contract
from creche.contract.row_rules import RowRule
from creche.contract.rules import SINGLE_COLOR, Rule

UNKNOWN = "unknown"  # what a model predicts outside its classes

__all__ = [
    "COLUMN_TYPES",
    "MISSING_VALUES",
    "SINGLE_COLOR",
    "UNKNOWN",
    "Column",
    "ColumnType",
    "Contract",
    "RowRule",
    "Rule",
    "normalize_name",
    "parse_number",
    "parse_text",
]
