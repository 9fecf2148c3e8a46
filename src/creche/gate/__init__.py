"""The gate's reasoning: floors that every model must clear, and a paired comparison with the reigning champion.

Both models answer the same holdout rows, so only the rows on which they disagree say anything. docs/gate.md shows how
often each verdict comes for how large a true difference.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import betabinom, binom, binomtest, norm

from creche.recipe import Gate, Recipe

PROMOTE, REJECT, INCONCLUSIVE = "PROMOTE", "REJECT", "INCONCLUSIVE"
COVERAGE_ALARM = 1e-3  # how rarely sets that keep their promise are held back
POWER = 0.8
SAID = 3  # broken floors in the sentence; all of them stand in the evidence
NUISANCE = 400  # shares of discordant rows over which the exact test takes its worst case

Floor = dict[str, Any]


def judge(
    evaluation: dict[str, Any], gate: Gate, comparison: dict[str, Any] | str | None
) -> dict[str, Any]:
    """The verdict, its reason in one sentence, and the evidence.

    Args:
        evaluation: of the evaluate step.
        comparison: of `compare`; None where no champion reigns; a sentence where the two cannot be compared.
    """
    floors = check_floors(evaluation, gate)
    broken = [f["broken"] for f in floors if f["broken"]]
    if broken:
        more = f"; and {len(broken) - SAID} more floors are broken" if len(broken) > SAID else ""
        verdict, reason = REJECT, "; ".join(broken[:SAID]) + more
    elif comparison is None:
        verdict, reason = (
            PROMOTE,
            "it meets every floor, and no champion reigns yet to be compared with",
        )
    elif isinstance(comparison, str):
        verdict, reason = INCONCLUSIVE, comparison
    else:
        verdict, reason = _against(comparison, gate)
    return {
        "verdict": verdict,
        "reason": reason[0].upper() + reason[1:] + ".",
        "floors": floors,
        "comparison": comparison if isinstance(comparison, dict) else None,
    }


def verdict_id(verdict: Mapping[str, Any]) -> str:
    """What a verdict is called by: the start of the SHA-256 of all that it says."""
    content = json.dumps({k: v for k, v in verdict.items() if k != "id"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def holdout_digest(rows: Iterable[int], groups: Iterable[int]) -> str:
    """SHA-256 of which rows a holdout is made of, by their numbers and group hashes."""
    return hashlib.sha256(json.dumps(sorted(zip(rows, groups, strict=True))).encode()).hexdigest()


def check_floors(evaluation: dict[str, Any], gate: Gate) -> list[Floor]:
    """Each floor with what was found and, where it is broken, why.

    A class or slice without holdout rows breaks its floor, for nothing is known of it.
    """
    accuracy = evaluation["accuracy"]
    found = [
        _floor(
            "accuracy",
            accuracy,
            gate.accuracy,
            f"accuracy {accuracy:.3f} is below its floor {gate.accuracy:g}",
        )
    ]
    for name, of_class in evaluation["by_class"].items():
        recall, rows = of_class["recall"], of_class["rows"]
        unknown = f"the holdout has no {name} row, so nothing is known of that class"
        poor = f"it finds {recall or 0:.1%} of the {rows} {name} rows, below the floor of {gate.recall:.1%}"
        found.append(
            _floor(f"recall of {name}", recall, gate.recall, unknown if recall is None else poor)
        )
    for part in evaluation["slices"]:
        name, floor = f"{part['column']} {part['value']}", gate.slices[part["column"]]
        unknown = f"the holdout has no row with {name}, so nothing is known of them"
        poor = f"it is right on {part['accuracy'] or 0:.1%} of the {part['rows']} rows with {name}, below the floor of {floor:.1%}"
        found.append(
            _floor(
                f"accuracy on {name}", part["accuracy"], floor, poor if part["rows"] else unknown
            )
        )
    found += _promises(evaluation, gate)
    for test in evaluation["behavior"]:
        done = f"{test['share'] or 0:.1%} of {test['rows']} rows {test['expected']}, not {test['floor']:.0%}"
        unmet = f"it fails the behavior test '{test['name']}': {done}"
        unknown = f"the behavior test '{test['name']}' finds no holdout row to be tried on"
        found.append(
            _floor(
                f"behavior: {test['name']}",
                test["share"],
                test["floor"],
                unmet if test["rows"] else unknown,
            )
        )
    return found + _soundness(evaluation, gate)


def _promises(evaluation: dict[str, Any], gate: Gate) -> list[Floor]:
    """What the model says of its own sureness."""
    found, error = [], evaluation["expected_calibration_error"]
    if gate.calibration_error is not None:
        wrong = f"its probabilities are off by {error:.1%} on average, more than the {gate.calibration_error:.1%} allowed"
        found.append(_ceiling("calibration error", error, gate.calibration_error, wrong))
    sets = evaluation["sets"]
    if sets["calibration_rows"]:
        chance = chance_of_coverage(
            sets["covered"], evaluation["rows"], sets["calibration_rows"], sets["coverage"]
        )
        wrong = (
            f"its prediction sets hold the truth in {sets['covered']} of {evaluation['rows']} rows, too few for a promise of "
            f"{sets['coverage']:.0%} (chance {chance:.1g})"
        )
        found.append(
            _floor(f"sets cover {sets['coverage']:.0%} (chance)", chance, COVERAGE_ALARM, wrong)
        )
    return found


def _soundness(evaluation: dict[str, Any], gate: Gate) -> list[Floor]:
    """Whether the file is what was trained, and answers alike whatever it is asked in."""
    found, file = [], evaluation["file"]
    if parity := evaluation["parity"]:
        largest, differ = parity["largest_difference"], parity["labels_that_differ"]
        wrong = f"the model file does not answer as torch does: {differ} labels differ, probabilities by up to {largest:.2g}"
        found.append(
            _ceiling("parity with torch", largest if not differ else 1.0, gate.parity, wrong)
        )
    wrong = f"in a fresh process it does not answer its own golden rows: {'; '.join(file['golden'][:2])}"
    found.append(_ceiling("golden rows altered", len(file["golden"]), 0, wrong))
    wrong = f"the size of a batch changes its predictions, by up to {file['batch_difference']:.2g}"
    found.append(_ceiling("batch sizes agree", file["batch_difference"], gate.parity, wrong))
    if gate.max_bytes is not None:
        wrong = f"its file has {file['bytes']} bytes, more than the {gate.max_bytes} allowed"
        found.append(_ceiling("bytes of the file", file["bytes"], gate.max_bytes, wrong))
    if gate.max_milliseconds is not None:
        wrong = f"one row takes it {file['milliseconds']:.3g} ms, more than the {gate.max_milliseconds:g} allowed"
        found.append(
            _ceiling("milliseconds a row", file["milliseconds"], gate.max_milliseconds, wrong)
        )
    return found


def _floor(name: str, found: float | None, limit: float, broken: str) -> Floor:
    met = found is not None and found >= limit
    return {
        "floor": name,
        "found": found,
        "limit": limit,
        "met": met,
        "broken": None if met else broken,
    }


def _ceiling(name: str, found: float, limit: float, broken: str) -> Floor:
    met = found <= limit
    return {
        "floor": name,
        "found": found,
        "limit": limit,
        "met": met,
        "broken": None if met else broken,
    }


def chance_of_coverage(covered: int, rows: int, calibration_rows: int, coverage: float) -> float:
    """How probable it is that sets of the stated coverage hold the truth in no more than `covered` of `rows` rows.

    The coverage of split conformal sets over fresh rows is beta-binomial (Angelopoulos and Bates, 2023, Conformal
    Prediction: A Gentle Introduction, section 3.2): the calibration rows are few, and chance too.
    """
    rank = int(np.ceil((calibration_rows + 1) * coverage))
    if rank > calibration_rows:
        return 1.0  # too few to promise anything: each set holds every class
    return float(betabinom.cdf(covered, rows, rank, calibration_rows + 1 - rank))


def slice_masks(table: pa.Table, recipe: Recipe) -> list[tuple[str, str, np.ndarray]]:
    """Column, value and mask (n,) of the holdout rows that have it, for every slice that the gate names.

    The values are those of the contract, else those of all accepted rows: a value that the holdout lacks is there too.
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
         "p_worse": mcnemar(int(worse[mask].sum()), int(better[mask].sum()))}
        for name, mask in (slices or {}).items()
    ]  # fmt: skip
    return {
        "rows": n,
        "challenger_accuracy": float(challenger.mean()),
        "champion_accuracy": float(champion.mean()),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n,
        "difference_low": lowest_difference(gained, lost, n, gate.alpha),
        "p_worse": mcnemar(lost, gained),
        "p_better": mcnemar(gained, lost),
        "p_inferior": p_inferior(gained, lost, n, gate.margin),
        "detectable": detectable_difference(gained + lost, n, gate.alpha),
        "newer_data": newer_data,
        "slices": by_slice,
    }


def mcnemar(more: int, fewer: int) -> float:
    """One-sided p of the exact McNemar test (1947, Psychometrika 12:153-157), with no difference as null hypothesis."""
    return float(binomtest(more, more + fewer, 0.5, "greater").pvalue) if more + fewer else 1.0


def lowest_difference(gained: int, lost: int, n: int, level: float) -> float:
    """Lower one-sided confidence limit, at 1 - `level`, of challenger's less champion's accuracy; -1..1 (Tango, 1998)."""
    critical, low, high = norm.isf(level), -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if tango_score(gained, lost, n, middle) >= critical else (low, middle)
        )
    return low


def tango_score(gained: Any, lost: Any, n: int, difference: float) -> Any:
    """How far, in standard errors, the observed difference lies above a supposed one; standard normal where it is true.

    Tango (1998, Statistics in Medicine 17:891-908), equations 2 to 5: the variance comes from the constrained maximum
    likelihood of the discordant cells. Counts may be arrays.
    """
    a, b, c = (
        2 * n,
        -gained - lost + (2 * n - gained + lost) * difference,
        -lost * difference * (1 - difference),
    )
    q = (np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + difference * (1 - difference))
    excess = gained - lost - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, excess / np.sqrt(variance), np.copysign(np.inf, excess))


@lru_cache(maxsize=65536)
def p_inferior(gained: int, lost: int, n: int, margin: float) -> float:
    """p of the exact unconditional test that the challenger's accuracy lies `margin` or more below the champion's.

    Tango's score orders the outcomes, and the share of discordant rows, which nobody knows, is the one that makes p
    largest (Sidik, 2003, Statistics in Medicine 22:265-278). The normal approximation would promote a model worse by
    the margin in up to 6 % of the cases where 5 % is stated (n = 300, margin 2 %).
    """
    if margin == 0:
        return mcnemar(gained, lost)
    observed = float(tango_score(gained, lost, n, -margin))
    m = np.arange(n + 1)  # discordant rows
    low, high = (
        np.zeros(n + 1, np.int64),
        m + 1,
    )  # of m, so many gained reach the observed score; m + 1: none do
    while (low < high).any():
        middle = (low + high) // 2
        reached = tango_score(middle, m - middle, n, -margin) >= observed - 1e-9
        low, high = (
            np.where(reached | (low >= high), low, middle + 1),
            np.where(reached, np.minimum(high, middle), high),
        )
    worst = 0.0
    for share in np.geomspace(margin, 1, NUISANCE):  # of discordant rows
        reach = binom.sf(low - 1, m, (share - margin) / 2 / share)
        worst = max(worst, float((binom.pmf(m, n, share) * reach).sum()))
    return min(worst, 1.0)


@lru_cache(maxsize=1024)
def detectable_difference(discordant: int, n: int, level: float) -> float:
    """The smallest true difference that the exact McNemar test would have shown 80 % of the time on such a holdout.

    The models are taken to disagree as often as they were seen to, or by the difference itself where that is more;
    1 where no difference would have been shown.
    """
    m = np.arange(n + 1)
    critical = binom.isf(level, m, 0.5).astype(np.int64) + 1  # P(X >= critical) <= level

    def power(difference: float) -> float:
        share = max(discordant / n, difference)
        return float(
            (binom.pmf(m, n, share) * binom.sf(critical - 1, m, (1 + difference / share) / 2)).sum()
        )

    low, high = 0.0, 1.0
    if power(high) < POWER:
        return 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


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
            f"loses {poor['lost']} (exact McNemar p = {poor['p_worse']:.2g}, {len(c['slices'])} slices looked at)"
        )
    if c["p_better"] < gate.alpha:
        return (
            PROMOTE,
            f"it is better than the champion: {facts} (exact McNemar p = {c['p_better']:.2g})",
        )
    bound = f"its accuracy may lie {max(-c['difference_low'], 0):.1%} below at {1 - gate.alpha:.0%} confidence"
    if c["p_inferior"] <= gate.alpha and c["newer_data"]:
        return PROMOTE, (
            f"it is no worse than the champion, and learned from rows that the champion never met: {facts}, so {bound}, within "
            f"the margin of {gate.margin:.1%} (exact p = {c['p_inferior']:.2g})"
        )
    shown = f"a difference of {c['detectable']:.1%} would have been shown {POWER:.0%} of the time"
    if c["detectable"] >= 1:
        shown = "no difference, however large, would have been shown by so few rows"
    if c["p_inferior"] <= gate.alpha:
        same = "it is no worse than the champion, but not shown to be better, and learned from no rows but the champion's"
        return INCONCLUSIVE, f"{same}: {facts}; {shown}"
    exact = f"exact p = {c['p_inferior']:.2g} for a margin of {gate.margin:.1%}"
    return INCONCLUSIVE, f"this holdout cannot tell: {facts}, so {bound} ({exact}); {shown}"


def _worst_slice(slices: Iterable[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """The slice on which it is shown to be worse, at a level shared among all slices (Bonferroni)."""
    looked_at = list(slices)
    worst = min(looked_at, key=lambda s: float(s["p_worse"]), default=None)
    return worst if worst and worst["p_worse"] < level / len(looked_at) else None
