"""How often the gate gives each verdict for how large a true difference: the table in docs/gate.md.

usage: python scripts/gate_table.py > table.md

Holdouts are drawn (seed 0) and judged by the gate itself. The models disagree on 4 % of the rows
and the difference.
"""

import sys
from collections import Counter
from functools import cache

import numpy as np

from creche.gate import compare, judge
from creche.recipe import Gate

SIZES = (70, 100, 300, 1000)
DIFFERENCES = (-0.1, -0.06, -0.03, -0.01, 0.0, 0.01, 0.03, 0.06, 0.1)
DRAWS, BACKGROUND = 4000, 0.04
SOUND = {
    "accuracy": 1.0, "rows": 1, "by_class": {}, "slices": [], "behavior": [], "parity": None,
    "expected_calibration_error": 0.0, "sets": {"calibration_rows": 0},
    "file": {"golden": [], "batch_difference": 0.0, "bytes": 0, "milliseconds": 0.0},
}  # fmt: skip


@cache
def verdict(gained: int, lost: int, n: int, newer_data: bool) -> str:
    rows = np.arange(n)
    gate = Gate()
    compared = compare(rows >= lost, (rows < lost) | (rows >= lost + gained), gate, newer_data)
    return str(judge(SOUND, gate, compared)["verdict"])


def frequencies(n: int, difference: float, newer_data: bool, draws: int = DRAWS) -> Counter[str]:
    gain, loss = (BACKGROUND / 2 + max(s * difference, 0) for s in (1, -1))
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(n, [gain, loss, 1 - gain - loss], size=draws)
    return Counter(verdict(int(g), int(lost), n, newer_data) for g, lost, _ in drawn)


def main() -> None:
    header = "| holdout rows | true difference | PROMOTE, newer data | PROMOTE, same data | REJECT | INCONCLUSIVE, newer data |"
    print(header + "\n|" + " ---: |" * 6)
    for n in SIZES:
        for difference in DIFFERENCES:
            other, same = (frequencies(n, difference, data) for data in (True, False))
            shares = (other["PROMOTE"], same["PROMOTE"], other["REJECT"], other["INCONCLUSIVE"])
            print(
                f"| {n} | {difference:+.0%} | "
                + " | ".join(f"{s / DRAWS:.1%}" for s in shares)
                + " |"
            )


if __name__ == "__main__":
    sys.exit(main())
