"""The gate: checks that every model must pass, and a paired comparison with the current champion.

Both models answer the same holdout rows, so only the rows on which they disagree say anything.
docs/concepts/gate.md shows how often each verdict comes for how large a true difference.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.gate.statistics import (
    POWER,
    coverage_p_value,
    difference_lower_limit,
    inferiority_p_value,
    mcnemar_p_value,
    minimum_detectable_difference,
)
from creche.recipe import Gate, Recipe

PROMOTE, REJECT, INCONCLUSIVE = "PROMOTE", "REJECT", "INCONCLUSIVE"
COVERAGE_ALPHA = 1e-3  # how rarely sets that keep their promise are held back
SHOWN_FAILURES = 3  # broken floors in the sentence; all of them stand in the evidence

CheckResult = dict[str, Any]


def judge(
    evaluation: dict[str, Any], gate: Gate, comparison: dict[str, Any] | str | None
) -> dict[str, Any]:
    """The verdict, its reason in one sentence, and the evidence.

    Args:
        evaluation: of the evaluate step.
        comparison: of `compare`; None where there is no champion; a sentence where the two cannot be
        compared.
    """
    checks = run_checks(evaluation, gate)
    broken = [check["message"] for check in checks if check["message"]]
    if broken:
        more = (
            f"; and {len(broken) - SHOWN_FAILURES} more checks failed"
            if len(broken) > SHOWN_FAILURES
            else ""
        )
        verdict, reason = REJECT, "; ".join(broken[:SHOWN_FAILURES]) + more
    elif comparison is None:
        verdict, reason = (
            PROMOTE,
            "all checks passed, and there is no champion yet to compare with",
        )
    elif isinstance(comparison, str):
        verdict, reason = INCONCLUSIVE, comparison
    else:
        verdict, reason = _against(comparison, gate)
    return {
        "verdict": verdict,
        "reason": reason[0].upper() + reason[1:] + ".",
        "checks": checks,
        "comparison": comparison if isinstance(comparison, dict) else None,
    }


def verdict_id(verdict: Mapping[str, Any]) -> str:
    """What a verdict is called by: the start of the SHA-256 of all that it says."""
    content = json.dumps({k: v for k, v in verdict.items() if k != "id"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def holdout_digest(rows: Iterable[int], groups: Iterable[int]) -> str:
    """SHA-256 of which rows a holdout is made of, by their numbers and group hashes."""
    return hashlib.sha256(json.dumps(sorted(zip(rows, groups, strict=True))).encode()).hexdigest()


def run_checks(evaluation: dict[str, Any], gate: Gate) -> list[CheckResult]:
    """Each floor with what was found and, where it is broken, why.

    A class or slice without holdout rows breaks its floor, for nothing is known of it.
    """
    accuracy = evaluation["accuracy"]
    found = [
        _minimum_check(
            "accuracy",
            accuracy,
            gate.accuracy,
            f"accuracy {accuracy:.3f} is below its threshold {gate.accuracy:g}",
        )
    ]
    for name, of_class in evaluation["by_class"].items():
        recall, rows = of_class["recall"], of_class["rows"]
        unknown = f"the holdout has no {name} row, so nothing is known of that class"
        poor = f"recall of {name} is {recall or 0:.1%} of {rows} rows, below the threshold of {gate.recall:.1%}"
        found.append(
            _minimum_check(
                f"recall of {name}", recall, gate.recall, unknown if recall is None else poor
            )
        )
    for part in evaluation["slices"]:
        name, floor = f"{part['column']} {part['value']}", gate.slices[part["column"]]
        unknown = f"the holdout has no row with {name}, so nothing is known of them"
        accuracy_there = part["accuracy"] or 0
        poor = (
            f"it is right on {accuracy_there:.1%} of the {part['rows']} rows with {name}, below the "
            f"threshold of {floor:.1%}"
        )
        found.append(
            _minimum_check(
                f"accuracy on {name}", part["accuracy"], floor, poor if part["rows"] else unknown
            )
        )
    found += _promises(evaluation, gate)
    for test in evaluation["behavior"]:
        done = f"{test['share'] or 0:.1%} of {test['rows']} rows {test['expected']}, not {test['threshold']:.0%}"
        unmet = f"behavior test '{test['name']}' failed: {done}"
        unknown = f"the behavior test '{test['name']}' finds no holdout row to be tried on"
        found.append(
            _minimum_check(
                f"behavior: {test['name']}",
                test["share"],
                test["threshold"],
                unmet if test["rows"] else unknown,
            )
        )
    return found + _soundness(evaluation, gate)


def _promises(evaluation: dict[str, Any], gate: Gate) -> list[CheckResult]:
    """What the model says of its own sureness."""
    found, error = [], evaluation["expected_calibration_error"]
    if gate.calibration_error is not None:
        wrong = f"its probabilities are off by {error:.1%} on average, more than the {gate.calibration_error:.1%} allowed"
        found.append(_maximum_check("calibration error", error, gate.calibration_error, wrong))
    sets = evaluation["sets"]
    if sets["calibration_rows"]:
        chance = coverage_p_value(
            sets["covered"], evaluation["rows"], sets["calibration_rows"], sets["coverage"]
        )
        wrong = (
            f"its prediction sets hold the true class in {sets['covered']} of {evaluation['rows']} "
            f"rows, too few for a coverage of {sets['coverage']:.0%} (p = {chance:.1g})"
        )
        found.append(
            _minimum_check(
                f"prediction sets cover {sets['coverage']:.0%} (p-value)",
                chance,
                COVERAGE_ALPHA,
                wrong,
            )
        )
    return found


def _soundness(evaluation: dict[str, Any], gate: Gate) -> list[CheckResult]:
    """Whether the file is what was trained, and answers alike whatever it is asked in."""
    found, file = [], evaluation["file"]
    if parity := evaluation["parity"]:
        largest, differ = parity["largest_difference"], parity["labels_that_differ"]
        wrong = f"the model file does not predict as torch does: {differ} labels differ, probabilities by up to {largest:.2g}"
        found.append(
            _maximum_check(
                "parity with torch", largest if not differ else 1.0, gate.parity_tolerance, wrong
            )
        )
    wrong = (
        f"in a fresh process it does not reproduce its golden rows: {'; '.join(file['golden'][:2])}"
    )
    found.append(_maximum_check("golden row mismatches", len(file["golden"]), 0, wrong))
    wrong = f"the batch size changes its predictions, by up to {file['batch_difference']:.2g}"
    found.append(
        _maximum_check(
            "difference between batch sizes", file["batch_difference"], gate.parity_tolerance, wrong
        )
    )
    if gate.max_bytes is not None:
        wrong = f"its file has {file['bytes']} bytes, more than the {gate.max_bytes} allowed"
        found.append(_maximum_check("bytes of the file", file["bytes"], gate.max_bytes, wrong))
    if gate.max_milliseconds is not None:
        wrong = f"one row takes {file['milliseconds']:.3g} ms, more than the {gate.max_milliseconds:g} allowed"
        found.append(
            _maximum_check(
                "milliseconds per row", file["milliseconds"], gate.max_milliseconds, wrong
            )
        )
    return found


def _minimum_check(name: str, value: float | None, threshold: float, message: str) -> CheckResult:
    passed = value is not None and value >= threshold
    return {
        "name": name,
        "value": value,
        "threshold": threshold,
        "passed": passed,
        "message": None if passed else message,
    }


def _maximum_check(name: str, value: float, threshold: float, message: str) -> CheckResult:
    passed = value <= threshold
    return {
        "name": name,
        "value": value,
        "threshold": threshold,
        "passed": passed,
        "message": None if passed else message,
    }


def slice_masks(table: pa.Table, recipe: Recipe) -> list[tuple[str, str, np.ndarray]]:
    """Column, value and mask (n,) of the holdout rows that have it, for every slice that the gate
    names.

    The values are those of the contract, else those of all accepted rows: a value that the holdout
    lacks is there too.
    """
    holdout, found = table.filter(pc.field("side") == "holdout"), []
    for name in recipe.gate.slices:
        seen = sorted(pc.unique(table[name]).drop_null().to_pylist())
        cells = holdout[name].to_numpy()
        found += [
            (name, v, np.asarray(cells == v))
            for v in recipe.columns[name].values or seen or ["of any value"]
        ]
    return found


def compare(
    challenger: np.ndarray,
    champion: np.ndarray,
    gate: Gate,
    newer_data: bool,
    slices: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Paired evidence from two masks (n,) of rows answered rightly.

    Args:
        newer_data: whether the challenger learned from groups that the champion never met.
        slices: name → mask (n,) of its rows.
    """
    n = len(challenger)
    better, worse = challenger & ~champion, champion & ~challenger
    gained, lost = int(better.sum()), int(worse.sum())
    by_slice = [
        {"slice": name, "rows": int(mask.sum()), "gained": int(better[mask].sum()), "lost": int(worse[mask].sum()),
         "p_worse": mcnemar_p_value(int(worse[mask].sum()), int(better[mask].sum()))}
        for name, mask in (slices or {}).items()
    ]  # fmt: skip
    return {
        "rows": n,
        "challenger_accuracy": float(challenger.mean()),
        "champion_accuracy": float(champion.mean()),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n,
        "difference_low": difference_lower_limit(gained, lost, n, gate.alpha),
        "p_worse": mcnemar_p_value(lost, gained),
        "p_better": mcnemar_p_value(gained, lost),
        "p_inferior": inferiority_p_value(gained, lost, n, gate.margin),
        "minimum_detectable_difference": minimum_detectable_difference(
            gained + lost, n, gate.alpha
        ),
        "newer_data": newer_data,
        "slices": by_slice,
    }


def _against(c: dict[str, Any], gate: Gate) -> tuple[str, str]:
    facts = (
        f"on {c['rows']} holdout rows it is right on {c['gained']} that the champion gets wrong, and wrong on "
        f"{c['lost']} that the champion gets right"
    )
    if c["p_worse"] < gate.alpha:
        return (
            REJECT,
            f"it is worse than the champion: {facts} (exact McNemar p = {c['p_worse']:.2g})",
        )
    if poor := _worst_slice(c["slices"], gate.alpha):
        return REJECT, (
            f"it is worse than the champion on rows with {poor['slice']}: of {poor['rows']} it gains {poor['gained']} and "
            f"loses {poor['lost']} (exact McNemar p = {poor['p_worse']:.2g}, {len(c['slices'])} slices compared)"
        )
    if c["p_better"] < gate.alpha:
        return (
            PROMOTE,
            f"it is better than the champion: {facts} (exact McNemar p = {c['p_better']:.2g})",
        )
    bound = f"its accuracy may lie {max(-c['difference_low'], 0):.1%} below at {1 - gate.alpha:.0%} confidence"
    if c["p_inferior"] <= gate.alpha and c["newer_data"]:
        return PROMOTE, (
            f"it is no worse than the champion, and was trained on rows that the champion was not: {facts}, so {bound}, within "
            f"the margin of {gate.margin:.1%} (exact p = {c['p_inferior']:.2g})"
        )
    shown = f"a difference of {c['minimum_detectable_difference']:.1%} would have been shown {POWER:.0%} of the time"
    if c["minimum_detectable_difference"] >= 1:
        shown = "no difference, however large, would have been shown by so few rows"
    if c["p_inferior"] <= gate.alpha:
        same = "it is no worse than the champion, but not shown to be better, and was trained on no rows but the champion's"
        return INCONCLUSIVE, f"{same}: {facts}; {shown}"
    exact = f"exact p = {c['p_inferior']:.2g} for a margin of {gate.margin:.1%}"
    return INCONCLUSIVE, f"this holdout cannot tell: {facts}, so {bound} ({exact}); {shown}"


def _worst_slice(slices: Iterable[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """The slice on which it is shown to be worse, at a level shared among all slices
    (Bonferroni).
    """
    looked_at = list(slices)
    worst = min(looked_at, key=lambda s: float(s["p_worse"]), default=None)
    return worst if worst and worst["p_worse"] < level / len(looked_at) else None
