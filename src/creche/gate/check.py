"""One check of the gate: a value against its threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from creche.records import CheckResult

# The way out where a check has no holdout row to measure it on.
ADD_HOLDOUT_ROWS = (
    "add such rows to the data, or choose a larger split.holdout or another split.seed"
)


@dataclass(frozen=True)
class Check:
    """One value against its threshold.

    Attributes:
        value: None where the holdout has no row to measure it on; the check then fails, for nothing
            is known.
        direction: whether the threshold is the least ("min") or the largest ("max") value that
            passes.
        explain: composes the message; it is called only where the check fails.
        note: what limits the value, whether the check passes or not.
    """

    name: str
    value: float | None
    threshold: float
    direction: Literal["min", "max"]
    explain: Callable[[], str]
    note: str | None = None

    def passes(self) -> bool:
        if self.value is None:
            return False
        if self.direction == "min":
            return self.value >= self.threshold
        return self.value <= self.threshold

    def result(self) -> CheckResult:
        passed = self.passes()
        message = None if passed else self.explain()
        if message and self.note:
            message += f": {self.note}"
        return CheckResult(
            name=self.name,
            value=self.value,
            threshold=self.threshold,
            direction=self.direction,
            passed=passed,
            message=message,
            note=self.note,
        )
