"""The rules of a contract that concern a row: each compares columns of it with each other.

A rule refuses the rows where `when` is true and `check` is false. What is unknown, because an
operand is missing, refuses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from creche.contract.column import Column
from creche.contract.expression_compiler import compile_expression
from creche.contract.expression_text import ExpressionError
from creche.contract.expressions import Columns, Condition, Row
from creche.errors import shortened

if TYPE_CHECKING:
    import numpy as np

SHOWN_LENGTH = 100  # characters of an expression that a message shows


@dataclass(frozen=True)
class StatedRule:
    """A rule as a model file has it in JSON."""

    check: str
    reason: str
    when: str | None = None


@dataclass(frozen=True)
class RowRule:
    """One condition that the values of a row keep, for a reason."""

    check: str  # as the recipe states it
    when: str | None  # the rows that it is for; None: all
    reason: str
    columns: tuple[str, ...]  # that it names
    condition: Condition
    precondition: Condition | None

    @classmethod
    def compile(
        cls,
        check: str,
        columns: Mapping[str, Column],
        when: str | None = None,
        reason: str | None = None,
    ) -> "RowRule":
        """Compile a rule.

        Args:
            check: the expression that holds in every row.
            columns: canonical name → column.
            when: an expression; other rows are not refused.
            reason: to refuse a row; by default the rule as it is written.

        Raises:
            ExpressionError: an expression cannot be read; the message begins with its text.
        """
        used: set[str] = set()
        conditions = []
        for text in (check, when):
            if text is None:
                continue
            try:
                compiled = compile_expression(text, columns)
            except ExpressionError as error:
                raise ExpressionError(f"'{shortened(text, SHOWN_LENGTH)}' {error}") from None
            conditions.append(compiled.condition)
            used.update(compiled.columns)
        rule = cls(
            check=check,
            when=when,
            reason=reason or "",
            columns=tuple(name for name in columns if name in used),
            condition=conditions[0],
            precondition=conditions[1] if when is not None else None,
        )
        return rule if reason else replace(rule, reason=f"rule broken: {rule}")

    def is_broken_by(self, row: Row) -> bool:
        """Whether one row breaks the rule.

        Args:
            row: canonical name → value; None where missing.
        """
        if self.precondition is not None and self.precondition.of_row(row) is not True:
            return False
        return self.condition.of_row(row) is False

    def mask(self, columns: Columns) -> "np.ndarray | None":
        """Return the mask (n,) of the rows that break the rule; None: no row does.

        Args:
            columns: canonical name → Arrow array of n values.
        """
        import numpy as np
        import pyarrow.compute as pc

        broken = pc.invert(self.condition.of_columns(columns))
        if self.precondition is not None:
            broken = pc.and_kleene(broken, self.precondition.of_columns(columns))
        broken = pc.fill_null(broken, False)
        if not pc.any(broken).as_py():
            return None
        mask: np.ndarray = np.asarray(broken)
        return mask

    def __str__(self) -> str:
        text = " ".join(self.check.split())
        return text if self.when is None else f"{text}, where {' '.join(self.when.split())}"

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as JSON."""
        stated = {"check": self.check, "when": self.when, "reason": self.reason}
        return {key: value for key, value in stated.items() if value is not None}
