"""Rows as they were read, beside their values under the contract."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from creche.contract import Contract

NO_COLUMN = ""  # in place of the column, of a rule across columns


class Violation(NamedTuple):
    """Rows that are refused for one reason."""

    column: str  # or NO_COLUMN
    reason: str
    mask: np.ndarray  # (n,)


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one file, as cells and as values.

    The cells stay beside the values, so that a quarantined row is written as it was read.
    """

    # 1-based row numbers in the file, the header not counted (n,).
    row_numbers: np.ndarray
    # The columns as they were read, n rows.
    cells: pa.RecordBatch
    # Canonical name → float64, string or pixels; null where missing or not convertible.
    values: dict[str, pa.Array]
    conversion_errors: list[Violation]
    # Canonical name → mask of cells that could be converted (n,); None: all of them.
    convertible: dict[str, np.ndarray | None]

    def check(self, contract: Contract) -> list[Violation]:
        """Return the violations of a contract: conversion errors and broken rules.

        Args:
            contract: rules of columns that the batch lacks are left out.
        """
        broken = []
        for rule in contract.rules():
            if rule.column not in self.values:
                continue
            mask = rule.mask(self.values[rule.column])
            if mask is not None:
                broken.append(Violation(rule.column, rule.reason, mask))
        return self.merge([*broken, *self.check_row_rules(contract)])

    def check_row_rules(self, contract: Contract) -> list[Violation]:
        """Return the violations of the rules across columns."""
        broken = []
        for rule in contract.row_rules:
            if not self.values.keys() >= set(rule.columns):
                continue
            mask = rule.mask(self.values)
            if mask is None:
                continue
            for name in rule.columns:
                convertible = self.convertible[name]
                if convertible is not None:
                    mask = mask & convertible
            broken.append(Violation(NO_COLUMN, rule.reason, mask))
        return broken

    def merge(self, broken: Iterable[Violation]) -> list[Violation]:
        """Return conversion errors and broken rules in the contract's order.

        A cell that could not be converted breaks no rule.
        """
        order = {name: position for position, name in enumerate(self.values)}
        violations = list(self.conversion_errors)
        for column, reason, mask in broken:
            convertible = self.convertible.get(column)
            if convertible is not None:
                mask = mask & convertible
            violations.append(Violation(column, reason, mask))
        refusing = [violation for violation in violations if violation.mask.any()]
        # The rules across columns come last.
        return sorted(refusing, key=lambda violation: order.get(violation.column, len(order)))
