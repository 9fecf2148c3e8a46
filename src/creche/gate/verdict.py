"""The verdict: PROMOTE, REJECT or INCONCLUSIVE, with its reason in one sentence.

docs/concepts/gate.md shows how often each verdict comes for how large a true difference.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from creche.gate import messages, metric_messages
from creche.gate.checks import run_checks
from creche.gate.comparison import NotComparable, worst_slice
from creche.recipe import Gate
from creche.records import (
    INCONCLUSIVE,
    PROMOTE,
    REJECT,
    CheckResult,
    Comparison,
    Evaluation,
    MetricComparison,
    Verdict,
    VerdictName,
)

ID_LENGTH = 16  # hexadecimal digits


class Decision(NamedTuple):
    """What the gate decides, and why."""

    verdict: VerdictName
    reason: str
    checks: list[CheckResult]


def decide(
    evaluation: Evaluation,
    gate: Gate,
    comparison: Comparison | MetricComparison | NotComparable | None,
) -> Decision:
    """Decide on a model by its checks and, where there is a champion, by the comparison with it.

    Args:
        evaluation: of the challenger.
        gate: the thresholds, and the level and margin of the tests.
        comparison: with the champion; None where there is no champion yet.
    """
    checks = run_checks(evaluation, gate)
    failures = [check.message for check in checks if check.message]
    if failures:
        return Decision(REJECT, messages.sentence(messages.failed_checks(failures)), checks)
    if comparison is None:
        return Decision(PROMOTE, messages.sentence(messages.NO_CHAMPION), checks)
    if isinstance(comparison, NotComparable):
        reason = messages.not_comparable(comparison.reason)
        return Decision(INCONCLUSIVE, messages.sentence(reason), checks)
    verdict, reason = _decide_by_comparison(comparison, gate)
    return Decision(verdict, messages.sentence(reason), checks)


def _decide_by_comparison(
    comparison: Comparison | MetricComparison, gate: Gate
) -> tuple[VerdictName, str]:
    words = metric_messages if isinstance(comparison, MetricComparison) else messages
    if comparison.p_worse < gate.alpha:
        return REJECT, words.worse(comparison)
    poor_slice = worst_slice(comparison, gate.alpha)
    if poor_slice:
        return REJECT, words.worse_on_slice(poor_slice, comparison)
    if comparison.p_better < gate.alpha:
        return PROMOTE, words.better(comparison)
    is_not_worse = comparison.p_inferior <= gate.alpha
    if is_not_worse and comparison.has_new_training_groups:
        return PROMOTE, words.not_worse_with_new_groups(comparison, gate)
    if is_not_worse:
        return INCONCLUSIVE, words.not_worse_on_same_groups(comparison)
    return INCONCLUSIVE, words.holdout_cannot_tell(comparison, gate)


def with_id(verdict: Verdict) -> Verdict:
    """Return a verdict with the id of its content."""
    return verdict.model_copy(update={"id": verdict_id(verdict)})


def verdict_id(verdict: Verdict) -> str:
    """Return what a verdict is called by: the start of the SHA-256 of all that it says."""
    content = verdict.model_dump(mode="json", exclude={"id"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:ID_LENGTH]


def holdout_digest(rows: Iterable[int], groups: Iterable[int]) -> str:
    """Return the SHA-256 of which rows a holdout is made of, by their numbers and group hashes."""
    pairs = sorted(zip(rows, groups, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
