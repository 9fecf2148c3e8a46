"""How often the gate gives each verdict for how large a true difference: the table in
docs/concepts/gate.md.

usage: python scripts/gate_table.py > table.md

Holdouts are drawn (seed 0) and judged by the gate itself, for a model whose own metrics pass every
check. The models disagree on 4 % of the rows, and on the difference.
"""

import sys
from collections import Counter
from functools import cache

import numpy as np

from creche.gate import compare, decide
from creche.recipe import Gate
from creche.records import (
    Evaluation,
    FileChecks,
    OodMetrics,
    PredictionSetMetrics,
    UnknownPredictions,
)

HEADER = (
    "holdout rows",
    "true difference",
    "PROMOTE, newer data",
    "PROMOTE, same data",
    "REJECT",
    "INCONCLUSIVE, newer data",
)
SIZES = (70, 100, 300, 1000)
# Of the challenger's accuracy, 1.0 = 100 %.
DIFFERENCES = (-0.1, -0.06, -0.03, -0.01, 0.0, 0.01, 0.03, 0.06, 0.1)
DRAWS = 4000  # holdouts for each size and difference
BACKGROUND = 0.04  # share of the rows on which models of equal accuracy disagree
PASSES_ALL_CHECKS = Evaluation(
    digest="",
    rows=1,
    correct=1,
    accuracy=1.0,
    accuracy_low=1.0,
    accuracy_high=1.0,
    log_loss=0.0,
    classes=[],
    per_class={},
    confusion_matrix=[],
    expected_calibration_error=0.0,
    calibration_bins=[],
    slices=[],
    unknown=UnknownPredictions(rows=0, unseen_values=[]),
    parity=None,
    prediction_sets=PredictionSetMetrics(
        covered=1, mean_size=1.0, coverage=0.9, calibration_rows=0
    ),
    ood=OodMetrics(rows=1, not_finite=0, zero=0, noise_rows=0, auroc=None),
    file=FileChecks(
        provider="", bytes=0, latency_ms=0.0, golden_mismatches=[], batch_size_difference=0.0
    ),
    behavior=[],
)


@cache
def verdict(gained: int, lost: int, n: int, has_new_training_groups: bool) -> str:
    """Return the gate's verdict on a holdout of n rows.

    Args:
        gained: rows that the challenger alone predicts right.
        lost: rows that the champion alone predicts right.
        has_new_training_groups: whether the challenger was trained on groups that the champion was
            not.
    """
    rows = np.arange(n)
    gate = Gate()
    challenger_is_right = rows >= lost
    champion_is_right = (rows < lost) | (rows >= lost + gained)
    comparison = compare(challenger_is_right, champion_is_right, gate, has_new_training_groups)
    return str(decide(PASSES_ALL_CHECKS, gate, comparison).verdict)


def frequencies(
    n: int, difference: float, has_new_training_groups: bool, draws: int = DRAWS
) -> Counter[str]:
    """Return how often the gate gives each verdict on drawn holdouts of n rows."""
    gain = BACKGROUND / 2 + max(difference, 0)
    loss = BACKGROUND / 2 + max(-difference, 0)
    generator = np.random.default_rng(0)
    holdouts = generator.multinomial(n, [gain, loss, 1 - gain - loss], size=draws)
    verdicts: Counter[str] = Counter()
    for gained, lost, _ in holdouts:
        verdicts[verdict(int(gained), int(lost), n, has_new_training_groups)] += 1
    return verdicts


def main() -> None:
    print(f"| {' | '.join(HEADER)} |")
    print("|" + " ---: |" * len(HEADER))
    for n in SIZES:
        for difference in DIFFERENCES:
            on_new_groups = frequencies(n, difference, has_new_training_groups=True)
            on_same_groups = frequencies(n, difference, has_new_training_groups=False)
            counts = (
                on_new_groups["PROMOTE"],
                on_same_groups["PROMOTE"],
                on_new_groups["REJECT"],
                on_new_groups["INCONCLUSIVE"],
            )
            shares = [f"{count / DRAWS:.1%}" for count in counts]
            print(f"| {n} | {difference:+.0%} | {' | '.join(shares)} |")


if __name__ == "__main__":
    sys.exit(main())
