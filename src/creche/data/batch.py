"""Rows as they came beside what the contract makes of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from creche.contract import Rule


class Violation(NamedTuple):
    """Rows that are refused for one reason."""

    column: str
    reason: str
    mask: np.ndarray  # (n,)


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one file; they can be given back unchanged when they are
    quarantined.
    """

    row_numbers: np.ndarray  # 1-based row numbers in the file, the header not counted (n,)
    cells: pa.RecordBatch  # the columns as they came, n rows
    values: dict[
        str, pa.Array
    ]  # canonical name → float64, string or pixels; null where missing or not convertible
    conversion_errors: list[Violation]
    convertible: dict[
        str, np.ndarray | None
    ]  # canonical name → mask of cells that could be converted (n,); None: all

    def check(self, rules: Iterable[Rule]) -> list[Violation]:
        """Return everything wrong with these rows: what could not be converted, and every broken
        rule.
        """
        broken = []
        for rule in rules:
            if rule.column not in self.values:
                continue
            mask = rule.mask(self.values[rule.column])
            if mask is not None:
                broken.append(Violation(rule.column, rule.reason, mask))
        return self.merge(broken)

    def merge(self, broken: Iterable[Violation]) -> list[Violation]:
        """Return conversion errors and broken rules in the contract's order.

        A cell that could not be converted breaks no rule.
        """
        order = {name: position for position, name in enumerate(self.values)}
        violations = list(self.conversion_errors)
        for column, reason, mask in broken:
            convertible = self.convertible[column]
            if convertible is not None:
                mask = mask & convertible
            violations.append(Violation(column, reason, mask))
        refusing = [violation for violation in violations if violation.mask.any()]
        return sorted(refusing, key=lambda violation: order[violation.column])
