"""Compile the operands of an expression: columns, values and arithmetic, each of one type."""

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from creche.contract.column import Column
from creche.contract.expression_text import ExpressionError, ExpressionText
from creche.contract.expressions import (
    MICROSECONDS_PER_DAY,
    Arithmetic,
    Constant,
    DateColumn,
    NumberColumn,
    Operand,
    TextColumn,
    to_microseconds,
)
from creche.errors import listed

Domain = Literal["number", "text", "date"]
# What the values of a column are in an expression; those of other kinds can be missing alone.
DOMAINS: dict[str, Domain] = {
    "number": "number",
    "category": "text",
    "boolean": "text",
    "bins": "text",
    "text": "text",
    "date": "date",
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
MAX_DEPTH = 50  # of parts within parts


@dataclass(frozen=True)
class Typed:
    """An operand with its domain."""

    operand: Operand
    domain: Domain
    # The column whose type reads a value that the operand is compared with.
    name: str | None


@dataclass(frozen=True)
class Written:
    """A value as it is written; what it means depends on what it is compared with."""

    text: str
    kind: Literal["number", "word", "text", "date"]
    node: ast.expr


class OperandCompiler:
    """Compiles the operands of one expression.

    Attributes:
        used: the columns that it names.
    """

    def __init__(self, source: ExpressionText, columns: Mapping[str, Column]) -> None:
        self.source = source
        self.columns = columns
        self.used: set[str] = set()

    def operand(self, node: ast.expr, depth: int) -> Typed | Written:
        self.check_depth(node, depth)
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Constant(value=value):
                segment = self.source.segment(node)
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if is_number and NUMBER.fullmatch(segment):
                    return Written(segment, "number", node)
                if value is None or isinstance(value, bool):
                    return Written(segment, "word", node)
                raise self.source.error(
                    node, f"{segment} is no decimal number: put a text in quotes"
                )
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negative(node, operand, depth)
            case ast.BinOp():
                return self._arithmetic(node, depth)
        raise self.source.error(
            node,
            f"{self.source.segment(node)} is neither column, value nor arithmetic: put a text in "
            "quotes",
        )

    def _name(self, node: ast.Name) -> Typed | Written:
        token = self.source.token(node)
        if token is not None and token.kind != "name":
            return Written(token.content, token.kind, node)
        name = self.column_name(node)
        if name is None:
            return Written(self.source.segment(node), "word", node)
        self.used.add(name)
        domain = DOMAINS.get(self.columns[name].kind)
        match domain:
            case "number":
                return Typed(NumberColumn(name), domain, name)
            case "text":
                return Typed(TextColumn(name), domain, name)
            case "date":
                return Typed(DateColumn(name), domain, name)
        raise self.source.error(
            node, f"{name} is a {self.columns[name].kind}: the only use of it is missing({name})"
        )

    def column_name(self, node: ast.Name) -> str | None:
        """Return the column that a name stands for, None where it is a word.

        Raises:
            ExpressionError: it stands in backticks, and there is no such column.
        """
        token = self.source.token(node)
        if token is None:
            segment = self.source.segment(node)
            return segment if segment in self.columns else None
        if token.kind != "name":
            return None
        if token.content not in self.columns:
            raise self.unknown_column(node, token.content)
        return token.content

    def _negative(self, node: ast.UnaryOp, operand: ast.expr, depth: int) -> Typed | Written:
        value = self.operand(operand, depth + 1)
        if isinstance(value, Written) and value.kind == "number":
            sign = "" if value.text.startswith("-") else "-"
            return Written(f"{sign}{value.text.removeprefix('-')}", "number", node)
        typed = self._number(operand, value)
        return Typed(Arithmetic("-", Constant(0.0), typed.operand), "number", typed.name)

    def _arithmetic(self, node: ast.BinOp, depth: int) -> Typed:
        symbol = ARITHMETIC.get(type(node.op))
        if symbol is None:
            raise self.source.error(
                node, f"{self.source.segment(node)} is no arithmetic of + - * /: use those alone"
            )
        left = self.operand(node.left, depth + 1)
        right = self.operand(node.right, depth + 1)
        is_date = False
        for side in (left, right):
            is_date = is_date or (isinstance(side, Typed) and side.domain == "date")
        if is_date:
            return self._date_arithmetic(node, symbol, left, right)
        typed_left = self._number(node.left, left)
        typed_right = self._number(node.right, right)
        result = Arithmetic(symbol, typed_left.operand, typed_right.operand)  # type: ignore[arg-type]
        name = typed_left.name or typed_right.name
        if name is None:
            value = result.of_row({})
            if value is None:
                raise self.source.error(node, f"{self.source.segment(node)} is no finite number")
            return Typed(Constant(value), "number", None)
        return Typed(result, "number", name)

    def _date_arithmetic(
        self, node: ast.BinOp, symbol: str, left: Typed | Written, right: Typed | Written
    ) -> Typed:
        """Return the days between two dates, or a date and a number of days as a date."""
        if isinstance(left, Written) and left.kind in ("text", "date"):
            assert isinstance(right, Typed)
            left = self.read(left, right)
        if isinstance(right, Written) and right.kind in ("text", "date"):
            assert isinstance(left, Typed)
            right = self.read(right, left)
        day = Constant(MICROSECONDS_PER_DAY)
        domains = [side.domain if isinstance(side, Typed) else "number" for side in (left, right)]
        if symbol == "-" and domains == ["date", "date"]:
            assert isinstance(left, Typed)
            assert isinstance(right, Typed)
            difference = Arithmetic("-", left.operand, right.operand)
            return Typed(Arithmetic("/", difference, day), "number", left.name or right.name)
        if symbol in ("+", "-") and domains == ["date", "number"]:
            assert isinstance(left, Typed)
            days = self._number(node.right, right).operand
            moved = Arithmetic(symbol, left.operand, Arithmetic("*", days, day))  # type: ignore[arg-type]
            return Typed(moved, "date", left.name)
        raise self.source.error(
            node,
            f"{self.source.segment(node)} is no arithmetic of dates: use DATE - DATE, which is a "
            "number of days, or DATE + DAYS",
        )

    def _number(self, node: ast.expr, value: Typed | Written) -> Typed:
        """Return an operand of arithmetic."""
        if isinstance(value, Written):
            if value.kind == "word":
                raise self.unknown_column(node, value.text)
            value = self.read(value, Typed(Constant(0.0), "number", None))
        if value.domain != "number":
            raise self.source.error(
                node,
                f"{self.source.segment(node)} is a {value.domain}, and arithmetic is of numbers",
            )
        return value

    def read(self, written: Written, other: Typed) -> Typed:
        """Return a value as one of the domain of the operand that it is compared with."""
        if other.domain == "number":
            return Typed(Constant(self._read_number(written, other)), "number", None)
        if written.kind == "number" and other.domain == "date":
            raise self._unreadable(written, other, "no date: use one like 2020-01-31")
        assert other.name is not None
        column = self.columns[other.name]
        try:
            value = _parse(written.text, column)
        except ValueError as error:
            raise self._unreadable(written, other, str(error)) from None
        if value is None:
            raise self._unreadable(written, other, f"a missing value: use missing({other.name})")
        if other.domain == "date":
            microseconds = to_microseconds(value)
            assert microseconds is not None
            return Typed(Constant(microseconds), "date", None)
        allowed = column.allowed_values
        if allowed is not None and value not in allowed:
            raise self._unreadable(written, other, f"not one of {listed(allowed)}")
        return Typed(Constant(str(value)), "text", None)

    def _read_number(self, written: Written, other: Typed) -> float:
        if written.kind == "word":
            raise self.unknown_column(written.node, written.text)
        if written.kind != "number":
            problem = f"'{written.text}' is a {written.kind}"
            if other.name is not None:
                problem += f", and it is compared with the number {other.name}"
            raise self.source.error(written.node, f"{problem}: use a number without quotes")
        number = float(written.text)
        if not math.isfinite(number):
            raise self.source.error(written.node, f"{written.text} is no finite number")
        return number

    def _unreadable(self, written: Written, other: Typed, problem: str) -> ExpressionError:
        if written.kind == "word":
            close = get_close_matches(written.text, self.columns, 1)
            if close:
                problem += f"; or did you mean the column '{close[0]}'?"
        return self.source.error(
            written.node, f"'{written.text}' as a value of {other.name} is {problem}"
        )

    def unknown_column(self, node: ast.expr, name: str) -> ExpressionError:
        close = get_close_matches(name, self.columns, 1)
        remedy = f"did you mean '{close[0]}'?" if close else "add it there"
        return self.source.error(node, f"'{name}' is not under columns: {remedy}")

    def check_depth(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.source.error(node, f"more than {MAX_DEPTH} parts within parts: simplify it")


def _parse(text: str, column: Column) -> Any:
    """Return a written value as one of a column; a date may always be in the ISO form.

    Raises:
        ValueError: it is none.
    """
    if column.formats:
        try:
            return column.type.parse(text, replace(column, formats=()))
        except ValueError:
            # It may be written as the column's own dates are.
            pass
    return column.type.parse(text, column)
