"""The reasons of verdicts, in words."""

from creche.gate.statistics import POWER
from creche.recipe import Gate
from creche.records import Comparison, SliceComparison

SHOWN_FAILURES = 3  # in the reason; all of them stand among the checks
NO_CHAMPION = "all checks passed, and there is no champion yet to compare with"


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def failed_checks(failures: list[str]) -> str:
    text = "; ".join(failures[:SHOWN_FAILURES])
    if len(failures) > SHOWN_FAILURES:
        text += f"; and {len(failures) - SHOWN_FAILURES} more checks failed"
    return text


def not_comparable(reason: str) -> str:
    return f"no comparison with the champion is possible: {reason}"


def worse(comparison: Comparison) -> str:
    return (
        f"it is worse than the champion: {_facts(comparison)} "
        f"(exact McNemar p = {comparison.p_worse:.2g})"
    )


def worse_on_slice(poor: SliceComparison, comparison: Comparison) -> str:
    return (
        f"it is worse than the champion on rows with {poor.slice}: of {poor.rows} it gains "
        f"{poor.gained} and loses {poor.lost} (exact McNemar p = {poor.p_worse:.2g}, "
        f"{len(comparison.slices)} slices compared)"
    )


def better(comparison: Comparison) -> str:
    return (
        f"it is better than the champion: {_facts(comparison)} "
        f"(exact McNemar p = {comparison.p_better:.2g})"
    )


def not_worse_with_new_groups(comparison: Comparison, gate: Gate) -> str:
    return (
        "it is no worse than the champion, and was trained on rows that the champion was not: "
        f"{_facts(comparison)}, so {_bound(comparison, gate)}, within the margin of "
        f"{gate.margin:.1%} (exact p = {comparison.p_inferior:.2g})"
    )


def not_worse_on_same_groups(comparison: Comparison) -> str:
    return (
        "it is no worse than the champion, but not shown to be better, and was trained on no rows "
        f"but the champion's: {_facts(comparison)}; {_detectable(comparison)}"
    )


def holdout_cannot_tell(comparison: Comparison, gate: Gate) -> str:
    p_value = f"exact p = {comparison.p_inferior:.2g} for a margin of {gate.margin:.1%}"
    return (
        f"this holdout cannot tell: {_facts(comparison)}, so {_bound(comparison, gate)} "
        f"({p_value}); {_detectable(comparison)}"
    )


def _facts(comparison: Comparison) -> str:
    return (
        f"on {comparison.rows} holdout rows it is right on {comparison.gained} that the champion "
        f"gets wrong, and wrong on {comparison.lost} that the champion gets right"
    )


def _bound(comparison: Comparison, gate: Gate) -> str:
    below = max(-comparison.difference_low, 0)
    return f"its accuracy may lie {below:.1%} below at {1 - gate.alpha:.0%} confidence"


def _detectable(comparison: Comparison) -> str:
    difference = comparison.minimum_detectable_difference
    if difference >= 1:
        return "no difference, however large, would have been shown by so few rows"
    return f"a difference of {difference:.1%} would have been shown {POWER:.0%} of the time"
