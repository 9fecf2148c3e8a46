"""Parse one cell of a table: a number, a text, or a missing value."""

import math
import re

# Spellings of a missing value; compared without surrounding spaces and in lower case.
MISSING_VALUES = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "."})
FLOAT32_MAX = 3.4028234663852886e38  # models compute in float32
NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?", re.ASCII | re.IGNORECASE
)
NOT_A_NUMBER = "not a number"
NOT_FINITE = "not finite"


def parse_number(cell: object) -> float | None:
    """Return the number in a cell, None where the value is missing.

    Raises:
        ValueError: the cell is not a number, or an infinity; the message is the reason.
    """
    if cell is None:
        return None
    if isinstance(cell, str):
        stripped = cell.strip()
        if stripped.lower() in MISSING_VALUES:
            return None
        if not NUMBER.fullmatch(stripped):
            raise ValueError(NOT_A_NUMBER)
        value = float(stripped)
    elif isinstance(cell, int | float) and not isinstance(cell, bool):
        value = float(cell)
    else:
        raise ValueError(NOT_A_NUMBER)
    if math.isnan(value):
        return None
    if abs(value) > FLOAT32_MAX:
        raise ValueError(NOT_FINITE)
    return value


def parse_text(cell: object) -> str | None:
    """Return the text in a cell, None where the value is missing.

    Whole numbers lose their `.0`.
    """
    if cell is None:
        return None
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        if cell.is_integer():
            cell = int(cell)
    stripped = str(cell).strip()
    return None if stripped.lower() in MISSING_VALUES else stripped


def normalize_name(name: str) -> str:
    """Return a column name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())
