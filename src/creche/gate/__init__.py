"""The gate: checks that every model must pass, and a paired comparison with the current champion.

docs/concepts/gate.md shows how often each verdict comes for how large a true difference.
"""

from creche.gate.checks import run_checks
from creche.gate.comparison import NotComparable, compare
from creche.gate.metric_comparison import compare_metric
from creche.gate.metric_statistics import Contributions, PairedMetric
from creche.gate.verdict import (
    Decision,
    decide,
    holdout_digest,
    verdict_id,
    with_id,
)

__all__ = [
    "Contributions",
    "Decision",
    "NotComparable",
    "PairedMetric",
    "compare",
    "compare_metric",
    "decide",
    "holdout_digest",
    "run_checks",
    "verdict_id",
    "with_id",
]
