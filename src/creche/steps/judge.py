"""The gate: floors that every model must clear, and a paired comparison with the reigning champion.

Both models answer the same holdout rows, so only the rows on which they disagree say anything. The challenger is
no worse when the score test of Tango (1998, Statistics in Medicine 17:891-908) rejects, at the recipe's level, that
its accuracy lies below the champion's by the recipe's margin or more; it is worse when the exact McNemar test says so.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import binomtest, norm

from creche.errors import ModelError
from creche.model_file import Model
from creche.places import EVALUATION, MODEL, SPLIT, VERDICT, Places, read_json, write_json
from creche.recipe import Gate, Recipe
from creche.registry import Version, champion

READS = (MODEL, SPLIT, EVALUATION)
WRITES = (VERDICT,)

PROMOTE, HOLD, INCONCLUSIVE = "PROMOTE", "HOLD", "INCONCLUSIVE"


def run(recipe: Recipe, places: Places) -> dict[str, Any]:
    """Write the verdict on the model file against the champion that reigns now, if any."""
    holdout = pq.read_table(places / SPLIT).filter(pc.field("side") == "holdout")
    evaluation = read_json(places / EVALUATION)
    reigning = champion(recipe.name, places)
    verdict = {
        "recipe": recipe.name,
        "digest": evaluation["digest"],
        "against": {"version": reigning.version, "digest": reigning.digest} if reigning else None,
        **judge(evaluation, recipe.gate, _compare(Model(places / MODEL), reigning, holdout, recipe) if reigning else None),
    }
    content = json.dumps(verdict, sort_keys=True).encode()
    verdict = {"id": hashlib.sha256(content).hexdigest()[:16], **verdict}
    write_json(places / VERDICT, verdict)
    return verdict


def judge(evaluation: dict[str, Any], gate: Gate, comparison: dict[str, Any] | str | None) -> dict[str, Any]:
    """The verdict, its reason in one sentence, and the evidence.

    Args:
        comparison: of `compare`; None where no champion reigns; a sentence where the two cannot be compared.
    """
    floors = check_floors(evaluation, gate)
    broken = [f["broken"] for f in floors if f["broken"]]
    if broken:
        verdict, reason = HOLD, "; ".join(broken)
    elif comparison is None:
        verdict, reason = PROMOTE, "it meets every floor, and no champion reigns yet to be compared with"
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


def check_floors(evaluation: dict[str, Any], gate: Gate) -> list[dict[str, Any]]:
    """Each floor with what was found and, where it is broken, why.

    A class without holdout rows breaks its floor, for nothing is known of it.
    """
    accuracy, parity = evaluation["accuracy"], evaluation["parity"]
    found = [_floor("accuracy", accuracy, gate.accuracy, f"accuracy {accuracy:.3f} is below its floor {gate.accuracy:g}")]
    for name, of_class in evaluation["by_class"].items():
        recall, rows = of_class["recall"], of_class["rows"]
        unknown = f"the holdout has no {name} row, so nothing is known of that class"
        poor = f"it finds {recall or 0:.1%} of the {rows} {name} rows, below the floor of {gate.recall:.1%}"
        found.append(_floor(f"recall of {name}", recall, gate.recall, unknown if recall is None else poor))
    largest, differ = parity["largest_difference"], parity["labels_that_differ"]
    unfaithful = f"the model file does not answer as torch does: {differ} labels differ, probabilities by up to {largest:.2g}"
    met = largest <= gate.parity and not differ
    found.append({"floor": "parity with torch", "found": largest, "limit": gate.parity, "met": met,
                  "broken": None if met else unfaithful})  # fmt: skip
    return found


def _floor(name: str, found: float | None, limit: float, broken: str) -> dict[str, Any]:
    met = found is not None and found >= limit
    return {"floor": name, "found": found, "limit": limit, "met": met, "broken": None if met else broken}


def _compare(challenger: Model, reigning: Version, holdout: pa.Table, recipe: Recipe) -> dict[str, Any] | str:
    """Both models on the same holdout, or the sentence that says why they cannot be compared there."""
    try:
        old = Model(reigning.path, reigning.digest)
    except ModelError as error:
        return f"champion version {reigning.version} cannot be read ({error})"
    if lacking := [n for n in old.contract.columns if n not in holdout.column_names]:
        return f"champion version {reigning.version} needs column {lacking[0]}, which this recipe no longer has"
    if reigning.split != recipe.split_digest:
        return f"champion version {reigning.version} was trained under another split, so this holdout may hold its own rows"
    trained_on = set(reigning.trained_on)
    met = sum(h in trained_on for h in holdout["group_hash"].to_pylist())
    if met:
        return f"champion version {reigning.version} was trained on {met} of the {holdout.num_rows} holdout rows"
    actual = holdout[recipe.label].to_numpy()
    right = [m.answer({n: holdout[n].to_numpy() for n in m.contract.columns}).labels == actual for m in (challenger, old)]
    return compare(right[0], right[1], recipe.gate)


def compare(challenger: np.ndarray, champion: np.ndarray, gate: Gate) -> dict[str, Any]:
    """Paired evidence from two masks (n,) of rows answered rightly."""
    n = len(challenger)
    gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    differing = gained + lost
    return {
        "rows": n,
        "challenger_accuracy": float(challenger.mean()),
        "champion_accuracy": float(champion.mean()),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n,
        "difference_low": lowest_difference(gained, lost, n, gate.level),
        "p_worse": float(binomtest(lost, differing, 0.5, "greater").pvalue) if differing else 1.0,
        "p_better": float(binomtest(gained, differing, 0.5, "greater").pvalue) if differing else 1.0,
    }


def lowest_difference(gained: int, lost: int, n: int, level: float) -> float:
    """Lower one-sided confidence limit, at 1 - `level`, of challenger's less champion's accuracy; -1..1."""
    critical, low, high = norm.isf(level), -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_score(gained, lost, n, middle) >= critical else (low, middle)
    return low


def tango_score(gained: int, lost: int, n: int, difference: float) -> float:
    """How far, in standard errors, the observed difference lies above a supposed one; standard normal where it is true.

    Tango (1998), equations 2 to 5: the variance comes from the constrained maximum likelihood of the discordant cells.
    """
    a, b, c = 2 * n, -gained - lost + (2 * n - gained + lost) * difference, -lost * difference * (1 - difference)
    q = (max(b * b - 4 * a * c, 0.0) ** 0.5 - b) / (2 * a)
    variance = n * (2 * q + difference * (1 - difference))
    excess = gained - lost - n * difference
    return float(excess / variance**0.5) if variance > 0 else float(np.copysign(np.inf, excess))


def _against(c: dict[str, Any], gate: Gate) -> tuple[str, str]:
    facts = (
        f"on {c['rows']} holdout rows it is right on {c['gained']} that the champion gets wrong, and wrong on "
        f"{c['lost']} that the champion gets right"
    )
    if c["p_worse"] < gate.level:
        return HOLD, f"it is worse than the champion: {facts} (exact McNemar p = {c['p_worse']:.2g})"
    if c["p_better"] < gate.level:
        return PROMOTE, f"it is better than the champion: {facts} (exact McNemar p = {c['p_better']:.2g})"
    bound = f"its accuracy may lie {max(-c['difference_low'], 0):.1%} below at {1 - gate.level:.0%} confidence"
    if c["difference_low"] > -gate.margin:
        return PROMOTE, f"it is no worse than the champion: {facts}, so {bound}, within the margin of {gate.margin:.1%}"
    return INCONCLUSIVE, f"this holdout cannot tell: {facts}, so {bound}, and the margin is {gate.margin:.1%}"
