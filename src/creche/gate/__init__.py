"""The gate: checks that every model must pass, and a paired comparison with the current champion.

docs/concepts/gate.md shows how often each verdict comes for how large a true difference.
"""

from creche.gate.checks import run_checks
from creche.gate.comparison import NotComparable, compare
from creche.gate.verdict import (
    Decision,
    decide,
    holdout_digest,
    verdict_id,
    with_id,
)

__all__ = [
    "Decision",
    "NotComparable",
    "compare",
    "decide",
    "holdout_digest",
    "run_checks",
    "verdict_id",
    "with_id",
]
