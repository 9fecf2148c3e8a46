"""Compile the text of a rule into an expression; the types of its operands are checked here."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from creche.contract.column import Column
from creche.contract.expression_operands import OperandCompiler, Typed, Written
from creche.contract.expression_text import ExpressionText
from creche.contract.expressions import (
    And,
    Comparison,
    Condition,
    Constant,
    Missing,
    Not,
    OneOf,
    Operand,
    Or,
    RankColumn,
    TextColumn,
)

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
TRUE = "true"  # canonical value of a boolean


@dataclass(frozen=True)
class CompiledExpression:
    """A condition, and the columns that it names, in the order of the contract."""

    condition: Condition
    columns: tuple[str, ...]


def compile_expression(text: str, columns: Mapping[str, Column]) -> CompiledExpression:
    """Compile an expression.

    Args:
        columns: canonical name → column; any other word is a value.

    Raises:
        ExpressionError: it cannot be read, or its types do not fit together.
    """
    compiler = _ConditionCompiler(ExpressionText(text), columns)
    condition = compiler.condition(compiler.source.root, 0)
    used = compiler.operands.used
    return CompiledExpression(condition, tuple(name for name in columns if name in used))


class _ConditionCompiler:
    """Compiles the conditions of one expression."""

    def __init__(self, source: ExpressionText, columns: Mapping[str, Column]) -> None:
        self.source = source
        self.operands = OperandCompiler(source, columns)

    def condition(self, node: ast.expr, depth: int) -> Condition:
        self.operands.check_depth(node, depth)
        match node:
            case ast.BoolOp(op=operator, values=values):
                conditions = tuple(self.condition(value, depth + 1) for value in values)
                return And(conditions) if isinstance(operator, ast.And) else Or(conditions)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self.condition(operand, depth + 1))
            case ast.Compare():
                return self._comparisons(node, depth)
            case ast.Call():
                return self._missing(node)
            case ast.Name():
                name = self.operands.column_name(node)
                kind: str | None = None
                if name is not None:
                    kind = self.operands.columns[name].kind
                if name is not None and kind == "boolean":
                    self.operands.used.add(name)
                    return OneOf(name, (TRUE,))
        raise self.source.error(
            node,
            f"{self.source.segment(node)} is no condition: compare it with a value, as in "
            "`age >= 18`",
        )

    def _missing(self, node: ast.Call) -> Condition:
        is_missing = isinstance(node.func, ast.Name) and self.source.segment(node.func) == "missing"
        if not is_missing:
            function = self.source.segment(node.func)
            raise self.source.error(
                node, f"{function} is no function: the only one is missing(COLUMN)"
            )
        name = None
        if len(node.args) == 1 and not node.keywords and isinstance(node.args[0], ast.Name):
            argument = node.args[0]
            name = self.operands.column_name(argument)
            if name is None:
                raise self.operands.unknown_column(argument, self.source.segment(argument))
        if name is None:
            raise self.source.error(node, "missing takes the name of one column")
        self.operands.used.add(name)
        return Missing(name)

    def _comparisons(self, node: ast.Compare, depth: int) -> Condition:
        conditions = []
        left = node.left
        for comparison, right in zip(node.ops, node.comparators, strict=True):
            conditions.append(self._comparison(comparison, left, right, depth))
            left = right
        return conditions[0] if len(conditions) == 1 else And(tuple(conditions))

    def _comparison(
        self, comparison: ast.cmpop, left: ast.expr, right: ast.expr, depth: int
    ) -> Condition:
        if isinstance(comparison, ast.In | ast.NotIn):
            condition = self._is_in(left, right, depth)
            return Not(condition) if isinstance(comparison, ast.NotIn) else condition
        symbol = COMPARISONS.get(type(comparison))
        if symbol is None:
            raise self.source.error(left, "`is` compares nothing here: use == or !=")
        typed_left, typed_right = self._same_domain(
            left,
            self.operands.operand(left, depth + 1),
            right,
            self.operands.operand(right, depth + 1),
        )
        if typed_left.domain == "text" and symbol not in ("==", "!="):
            return self._order_of_texts(symbol, left, typed_left, right, typed_right)
        return _compared(symbol, typed_left.operand, typed_right.operand)

    def _is_in(self, left: ast.expr, right: ast.expr, depth: int) -> Condition:
        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
            raise self.source.error(right, "after `in` stands a list of values, as in [a, b]")
        operand = self.operands.operand(left, depth + 1)
        conditions = []
        for element in right.elts:
            value = self.operands.operand(element, depth + 1)
            if not isinstance(value, Written):
                raise self.source.error(
                    element, f"{self.source.segment(element)} is a column: list values alone"
                )
            typed, typed_value = self._same_domain(left, operand, element, value)
            conditions.append(_compared("==", typed.operand, typed_value.operand))
        return _joined(conditions)

    def _same_domain(
        self,
        left_node: ast.expr,
        left: Typed | Written,
        right_node: ast.expr,
        right: Typed | Written,
    ) -> tuple[Typed, Typed]:
        """Return both sides of a comparison, a written value read as the other side's."""
        if isinstance(left, Written) and isinstance(right, Written):
            for written in (left, right):
                if written.kind == "word":
                    raise self.operands.unknown_column(written.node, written.text)
            raise self.source.error(left_node, "compares two values: name a column")
        if isinstance(left, Written):
            assert isinstance(right, Typed)
            left = self.operands.read(left, right)
        elif isinstance(right, Written):
            right = self.operands.read(right, left)
        if left.domain != right.domain:
            raise self.source.error(
                left_node,
                f"compares a {left.domain} ({self.source.segment(left_node)}) with a "
                f"{right.domain} ({self.source.segment(right_node)}): compare two of one type",
            )
        return left, right

    def _order_of_texts(
        self, symbol: str, left: ast.expr, typed: Typed, right: ast.expr, other: Typed
    ) -> Condition:
        name = typed.name or other.name
        assert name is not None
        ranks = []
        values = self.operands.columns[name].allowed_values or ()
        for node, side in ((left, typed), (right, other)):
            if isinstance(side.operand, Constant):
                # Reading it has checked that it is one of them.
                ranks.append(self._rank(node, side.operand, name, values))
                continue
            assert side.name is not None
            column = self.operands.columns[side.name]
            if not _is_ordered(column) or column.allowed_values != values:
                is_other = _is_ordered(column) and column.allowed_values is not None
                problem = "with other values" if is_other else "without an order"
                raise self.source.error(
                    node,
                    f"{side.name} is a {column.kind} {problem}: use ==, != or in, or state values "
                    f"and `ordered: true` under columns.{side.name}",
                )
            ranks.append(RankColumn(side.name, values))
        return _compared(symbol, ranks[0], ranks[1])

    def _rank(
        self, node: ast.expr, constant: Constant, name: str, values: tuple[str, ...]
    ) -> Operand:
        if not _is_ordered(self.operands.columns[name]) or constant.value not in values:
            raise self.source.error(
                node,
                f"{name} has no order: use ==, != or in, or state values and `ordered: true` under "
                f"columns.{name}",
            )
        return Constant(float(values.index(str(constant.value))))


def _is_ordered(column: Column) -> bool:
    """Whether the values of a column are listed in their order; those of bins are."""
    return column.ordered or column.kind == "bins"


def _compared(symbol: str, left: Operand, right: Operand) -> Condition:
    """Return a comparison; of a text with a value, the form that is fastest on many rows."""
    if isinstance(left, Constant) and isinstance(right, TextColumn):
        left, right = right, left
    is_text_with_value = isinstance(left, TextColumn) and isinstance(right, Constant)
    if not is_text_with_value or symbol not in ("==", "!="):
        return Comparison(symbol, left, right)  # type: ignore[arg-type]
    assert isinstance(left, TextColumn)
    assert isinstance(right, Constant)
    condition = OneOf(left.name, (str(right.value),))
    return Not(condition) if symbol == "!=" else condition


def _joined(conditions: list[Condition]) -> Condition:
    """Return that one at least of the elements of a list is equal."""
    values: list[str] = []
    names = set()
    for condition in conditions:
        if isinstance(condition, OneOf):
            values += condition.values
            names.add(condition.name)
    if len(values) == len(conditions):
        return OneOf(names.pop(), tuple(values))
    return conditions[0] if len(conditions) == 1 else Or(tuple(conditions))
