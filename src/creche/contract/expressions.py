"""Expressions over the values of one row, each executed on a row and on columns of Arrow values.

Operands are numbers (a date is its microseconds since 1970, UTC) and texts. A missing operand makes
a comparison unknown, which is neither true nor false (Kleene's three-valued logic): None of one
row, null of Arrow values.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

MICROSECONDS_PER_DAY = 86_400_000_000.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Value = float | str | None
Row = Mapping[str, Any]  # canonical name → value; None where missing
Columns = Mapping[str, Any]  # canonical name → Arrow array of n values

ComparisonOperator = Literal["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = Literal["+", "-", "*", "/"]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPUTE: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
# The same functions in pyarrow.compute.
ARROW_FUNCTIONS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
}


class Operand:
    """Something with a value in each row: a number or a text."""

    def of_row(self, row: Row) -> Value:
        """Return its value in one row, None where it is missing."""
        raise NotImplementedError

    def of_columns(self, columns: Columns) -> Any:
        """Return its values as an Arrow array (n,), null where missing; a constant as a scalar."""
        raise NotImplementedError


class Condition:
    """Something that is true, false or unknown in each row."""

    def of_row(self, row: Row) -> bool | None:
        """Return whether it holds in one row, None where that is unknown."""
        raise NotImplementedError

    def of_columns(self, columns: Columns) -> "pa.Array":
        """Return in which rows it holds (n,), null where that is unknown."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Operand):
    """A number or text that is the same in all rows."""

    value: float | str

    def of_row(self, row: Row) -> Value:
        return self.value

    def of_columns(self, columns: Columns) -> Any:
        import pyarrow as pa

        return pa.scalar(self.value)


@dataclass(frozen=True)
class NumberColumn(Operand):
    """The numbers of a column, in its unit."""

    name: str

    def of_row(self, row: Row) -> Value:
        value: Value = row.get(self.name)
        return value

    def of_columns(self, columns: Columns) -> Any:
        return columns[self.name]


@dataclass(frozen=True)
class TextColumn(Operand):
    """The texts of a column."""

    name: str

    def of_row(self, row: Row) -> Value:
        value: Value = row.get(self.name)
        return value

    def of_columns(self, columns: Columns) -> Any:
        import pyarrow as pa

        return columns[self.name].cast(pa.string())


@dataclass(frozen=True)
class RankColumn(Operand):
    """The ranks of an ordered category's values, from 0; missing for a value that is not listed."""

    name: str
    values: tuple[str, ...]

    def of_row(self, row: Row) -> Value:
        value = row.get(self.name)
        return float(self.values.index(value)) if value in self.values else None

    def of_columns(self, columns: Columns) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = columns[self.name].cast(pa.string())
        ranks = pc.index_in(texts, pa.array(self.values, pa.string()))
        return ranks.cast(pa.float64())


@dataclass(frozen=True)
class DateColumn(Operand):
    """The dates of a column, in microseconds since 1970, UTC."""

    name: str

    def of_row(self, row: Row) -> Value:
        return to_microseconds(row.get(self.name))

    def of_columns(self, columns: Columns) -> Any:
        import pyarrow as pa

        values = columns[self.name]
        if pa.types.is_timestamp(values.type):
            # Far dates of fractions of a second are rounded, as those of one row are.
            return (
                values.cast(pa.timestamp("us", values.type.tz))
                .cast(pa.int64())
                .cast(pa.float64(), safe=False)
            )
        return values


def to_microseconds(value: datetime | float | None) -> float | None:
    """Return a date as microseconds since 1970, UTC; without a time zone it is in UTC."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return float((value - EPOCH) // timedelta(microseconds=1))


@dataclass(frozen=True)
class Arithmetic(Operand):
    """Two numbers added, subtracted, multiplied or divided; missing where that is not finite, as
    after a division by zero.
    """

    operator: ArithmeticOperator
    left: Operand
    right: Operand

    def of_row(self, row: Row) -> Value:
        left, right = self.left.of_row(row), self.right.of_row(row)
        if left is None or right is None or (self.operator == "/" and right == 0):
            return None
        assert isinstance(left, float | int)
        assert isinstance(right, float | int)
        result = COMPUTE[self.operator](float(left), float(right))
        return result if math.isfinite(result) else None

    def of_columns(self, columns: Columns) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        operands = [self.left.of_columns(columns), self.right.of_columns(columns)]
        numbers = [operand.cast(pa.float64()) for operand in operands]
        result = pc.call_function(ARROW_FUNCTIONS[self.operator], numbers)
        return pc.if_else(pc.is_finite(result), result, None)


@dataclass(frozen=True)
class Comparison(Condition):
    """Two numbers, or two texts, compared."""

    operator: ComparisonOperator
    left: Operand
    right: Operand

    def of_row(self, row: Row) -> bool | None:
        left, right = self.left.of_row(row), self.right.of_row(row)
        if left is None or right is None:
            return None
        return COMPARE[self.operator](left, right)

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow.compute as pc

        operands = [self.left.of_columns(columns), self.right.of_columns(columns)]
        return pc.call_function(ARROW_FUNCTIONS[self.operator], operands)


@dataclass(frozen=True)
class OneOf(Condition):
    """A text column that has one of some values."""

    name: str
    values: tuple[str, ...]

    def of_row(self, row: Row) -> bool | None:
        value = row.get(self.name)
        return None if value is None else value in self.values

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        values = columns[self.name]
        allowed = pa.array(self.values, pa.string())
        if pa.types.is_dictionary(values.type):
            # Each value of the dictionary is compared once, however many rows have it.
            return pc.is_in(values.dictionary, allowed).take(values.indices)
        return pc.if_else(pc.is_valid(values), pc.is_in(values, allowed), None)


@dataclass(frozen=True)
class Missing(Condition):
    """A column without a value."""

    name: str

    def of_row(self, row: Row) -> bool | None:
        return row.get(self.name) is None

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow.compute as pc

        return pc.is_null(columns[self.name])


@dataclass(frozen=True)
class Not(Condition):
    """The opposite; unknown where the condition is."""

    condition: Condition

    def of_row(self, row: Row) -> bool | None:
        holds = self.condition.of_row(row)
        return None if holds is None else not holds

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow.compute as pc

        return pc.invert(self.condition.of_columns(columns))


@dataclass(frozen=True)
class And(Condition):
    """All of some conditions: false where one is false, else unknown where one is."""

    conditions: tuple[Condition, ...]

    def of_row(self, row: Row) -> bool | None:
        outcomes = [condition.of_row(row) for condition in self.conditions]
        if False in outcomes:
            return False
        return None if None in outcomes else True

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow.compute as pc

        holds = self.conditions[0].of_columns(columns)
        for condition in self.conditions[1:]:
            holds = pc.and_kleene(holds, condition.of_columns(columns))
        return holds


@dataclass(frozen=True)
class Or(Condition):
    """One at least of some conditions: true where one is true, else unknown where one is."""

    conditions: tuple[Condition, ...]

    def of_row(self, row: Row) -> bool | None:
        outcomes = [condition.of_row(row) for condition in self.conditions]
        if True in outcomes:
            return True
        return None if None in outcomes else False

    def of_columns(self, columns: Columns) -> "pa.Array":
        import pyarrow.compute as pc

        holds = self.conditions[0].of_columns(columns)
        for condition in self.conditions[1:]:
            holds = pc.or_kleene(holds, condition.of_columns(columns))
        return holds
