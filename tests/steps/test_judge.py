from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar

from creche.recipe import Gate
from creche.steps.judge import check_floors, compare, judge, lowest_difference, tango_score

GATE = Gate(accuracy=0.9, recall=0.8, margin=0.03)


def evaluation(**changes: Any) -> dict[str, Any]:
    by_class = {c: {"rows": 30, "precision": 1.0, "recall": 0.95} for c in ("Adelie", "Gentoo")}
    parity = {"largest_difference": 1e-7, "labels_that_differ": 0}
    return {"accuracy": 0.95, "by_class": by_class, "parity": parity, **changes}


def pair(gained: int, lost: int, both: int) -> dict[str, Any]:
    challenger = np.array([True] * gained + [False] * lost + [True] * both)
    champion = np.array([False] * gained + [True] * lost + [True] * both)
    return compare(challenger, champion, GATE)


def test_first_model_needs_the_floors_alone() -> None:
    verdict = judge(evaluation(), GATE, None)
    assert verdict["verdict"] == "PROMOTE"
    assert verdict["reason"] == "It meets every floor, and no champion reigns yet to be compared with."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accuracy": 0.5}, "Accuracy 0.500 is below its floor 0.9."),
        (
            {"by_class": {"Gentoo": {"rows": 8, "recall": 0.5}}},
            "It finds 50.0% of the 8 Gentoo rows, below the floor of 80.0%.",
        ),
        (
            {"by_class": {"Gentoo": {"rows": 0, "recall": None}}},
            "The holdout has no Gentoo row, so nothing is known of that class.",
        ),
        (
            {"parity": {"largest_difference": 0.2, "labels_that_differ": 3}},
            "The model file does not answer as torch does: 3 labels differ, probabilities by up to 0.2.",
        ),
    ],
)
def test_broken_floor_holds_the_model_whatever_the_champion(changes: dict[str, Any], reason: str) -> None:
    for comparison in (None, pair(20, 0, 80)):
        verdict = judge(evaluation(**changes), GATE, comparison)
        assert (verdict["verdict"], verdict["reason"]) == ("HOLD", reason)


@pytest.mark.parametrize(
    ("gained", "lost", "both", "verdict"),
    [
        (0, 0, 110, "PROMOTE"),  # no disagreement on 110 rows: at most 2.4 % worse
        (0, 0, 60, "INCONCLUSIVE"),  # none on 60 rows could still hide 4.3 %
        (12, 1, 100, "PROMOTE"),
        (1, 12, 100, "HOLD"),
        (3, 4, 100, "INCONCLUSIVE"),
        (30, 30, 10_000, "PROMOTE"),
    ],
)
def test_verdict_follows_the_rows_on_which_the_two_disagree(gained: int, lost: int, both: int, verdict: str) -> None:
    assert judge(evaluation(), GATE, pair(gained, lost, both))["verdict"] == verdict


def test_models_that_cannot_be_compared_are_inconclusive() -> None:
    verdict = judge(evaluation(), GATE, "champion version 1 was trained on 3 of the 110 holdout rows")
    assert verdict["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(("gained", "lost"), [(12, 1), (1, 12), (5, 5), (0, 0)])
def test_exact_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    found = pair(gained, lost, 100)
    both_sided = mcnemar([[100, lost], [gained, 0]], exact=True).pvalue
    assert min(1.0, 2 * min(found["p_worse"], found["p_better"])) == pytest.approx(both_sided)


def test_bound_without_disagreement_is_tangos_closed_form() -> None:
    z2 = norm.isf(0.05) ** 2
    assert lowest_difference(0, 0, 100, 0.05) == pytest.approx(-z2 / (100 + z2))


def test_score_at_no_difference_is_mcnemars() -> None:
    assert tango_score(12, 5, 100, 0.0) == pytest.approx((12 - 5) / np.sqrt(12 + 5))


def test_score_interval_of_tangos_example() -> None:
    """Tango (1998), table 2, example of 44 pairs with 1 and 3 discordant: the 95 % limits of the difference."""
    low = lowest_difference(1, 3, 44, 0.025)
    high = -lowest_difference(3, 1, 44, 0.025)
    score = [tango_score(1, 3, 44, limit) for limit in (low, high)]
    assert score == pytest.approx([norm.isf(0.025), -norm.isf(0.025)], abs=1e-6)


def test_limit_covers_the_truth_about_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    n, gain, loss = 300, 0.04, 0.07
    draws = random.multinomial(n, [gain, loss, 1 - gain - loss], size=2000)
    missed = sum(lowest_difference(g, lost, n, 0.05) > gain - loss for g, lost, _ in draws)
    assert binomtest(missed, 2000, 0.05).pvalue > 0.001


def test_every_floor_is_listed_met_or_not() -> None:
    floors = check_floors(evaluation(), GATE)
    assert [f["floor"] for f in floors] == ["accuracy", "recall of Adelie", "recall of Gentoo", "parity with torch"]
    assert all(f["met"] and f["broken"] is None for f in floors)
