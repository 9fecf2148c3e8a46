import sys
from bisect import bisect_left
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial, norm
from statsmodels.stats.contingency_tables import mcnemar
from support.evaluations import behavior, evaluation, file_checks, ood, prediction_sets, unknown
from support.projects import ROOT

from creche.gate import NotComparable, compare, decide, run_checks
from creche.gate.statistics import (
    coverage_p_value,
    difference_lower_limit,
    inferiority_p_value,
    minimum_detectable_difference,
    tango_score,
)
from creche.recipe import Gate
from creche.records import ClassMetrics, Comparison, Parity, SliceMetrics

sys.path.insert(0, str(ROOT / "scripts"))
from gate_table import DRAWS, frequencies

GATE = Gate(
    accuracy=0.9,
    recall=0.8,
    margin=0.03,
    slices={"island": 0.8},
    calibration_error=0.1,
    max_bytes=9,
    max_milliseconds=5,
)


def pair(
    gained: int, lost: int, both: int, has_new_training_groups: bool = True, slices: Any = None
) -> Comparison:
    challenger = np.array([True] * gained + [False] * lost + [True] * both)
    champion = np.array([False] * gained + [True] * lost + [True] * both)
    return compare(challenger, champion, GATE, has_new_training_groups, slices)


def test_class_without_holdout_rows_passes_where_nothing_is_asked_of_its_recall() -> None:
    absent = {"Gentoo": ClassMetrics(rows=0, precision=0.0, recall=None)}
    asks_nothing = GATE.model_copy(update={"recall": 0.0})
    assert decide(evaluation(per_class=absent), asks_nothing, None).verdict == "PROMOTE"
    assert decide(evaluation(per_class=absent), GATE, None).verdict == "REJECT"


def test_first_model_needs_only_to_pass_the_checks() -> None:
    verdict = decide(evaluation(), GATE, None)
    assert verdict.verdict == "PROMOTE"
    assert verdict.reason == "All checks passed, and there is no champion yet to compare with."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accuracy": 0.5}, "Accuracy 0.500 is below its threshold 0.9."),
        (
            {"per_class": {"Gentoo": ClassMetrics(rows=8, precision=1.0, recall=0.5)}},
            "Recall of Gentoo is 50.0% of 8 rows, below the threshold of 80.0%.",
        ),
        (
            {"per_class": {"Gentoo": ClassMetrics(rows=0, precision=0.0, recall=None)}},
            "The holdout has no Gentoo row, so nothing is known of that class: add such rows to the "
            "data, or choose a larger split.holdout or another split.seed.",
        ),
        (
            {"parity": Parity(rows=57, max_difference=0.2, label_mismatches=3)},
            "The model file does not predict as torch does: 3 of 57 labels differ, probabilities by "
            "up to 0.2.",
        ),
        (
            {"parity": Parity(rows=0, max_difference=None, label_mismatches=0)},
            "The model file predicts no holdout row that torch predicts.",
        ),
        (
            {"unknown": unknown(4)},
            "4 of 60 holdout rows are predicted as unknown, more than the 5.0% allowed: training "
            "has no row with island 'Signy' (4 rows).",
        ),
        (
            {"slices": [SliceMetrics(column="island", value="Dream", rows=9, accuracy=0.5)]},
            "Accuracy is 50.0% on the 9 rows with island Dream, below the threshold of 80.0%.",
        ),
        (
            {"slices": [SliceMetrics(column="island", value="Signy", rows=0, accuracy=None)]},
            "The holdout has no row with island Signy, so nothing is known of them: add such rows to "
            "the data, or choose a larger split.holdout or another split.seed.",
        ),
        (
            {"expected_calibration_error": 0.3},
            "Probabilities are off by 30.0% on average, more than the 10.0% allowed.",
        ),
        (
            {"prediction_sets": prediction_sets(covered=30)},
            "Prediction sets hold the true class in 30 of 60 rows, too few for a coverage of 90% "
            "(p = 4e-06).",
        ),
        (
            {"ood": ood(not_finite=2)},
            "The OOD score is no number on 2 of 60 holdout rows.",
        ),
        (
            {"ood": ood(zero=60, auroc=0.5)},
            "The OOD score is 0 on 60 of 60 holdout rows, as if they were unlike the training rows: it "
            "would say nothing of new observations.",
        ),
        (
            {"ood": ood(auroc=0.4)},
            "The OOD score ranks holdout rows above noise with an AUROC of 0.400, below "
            "gate.ood_auroc 0.5.",
        ),
        (
            {"behavior": [behavior(share=0.5)]},
            "Behavior test 'b' failed: 50.0% of 8 rows keep their label, not 90%.",
        ),
        (
            {"behavior": [behavior(rows=0, share=None)]},
            "Behavior test 'b' matches no holdout row: add such rows to the data, or choose a larger "
            "split.holdout or another split.seed.",
        ),
        (
            {"file": file_checks(golden_mismatches=["golden row 3 is answered a, not b"])},
            "In a fresh process it does not reproduce its golden rows: golden row 3 is answered a, "
            "not b.",
        ),
        (
            {"file": file_checks(batch_size_difference=1.0)},
            "The batch size changes its predictions, by up to 1.",
        ),
        ({"file": file_checks(bytes=10)}, "Its file has 10 bytes, more than the 9 allowed."),
        ({"file": file_checks(latency_ms=7)}, "One row takes 7 ms, more than the 5 allowed."),
    ],
)
def test_failed_check_rejects_the_model_whatever_the_champion(
    changes: dict[str, Any], reason: str
) -> None:
    for comparison in (None, pair(20, 0, 80)):
        verdict = decide(evaluation(**changes), GATE, comparison)
        assert (verdict.verdict, verdict.reason) == ("REJECT", reason)


def test_few_unknown_rows_do_not_block_promotion() -> None:
    assert decide(evaluation(unknown=unknown(3)), GATE, None).verdict == "PROMOTE"
    strict = GATE.model_copy(update={"max_unknown": 0.0})
    assert decide(evaluation(unknown=unknown(3)), strict, None).verdict == "REJECT"


@pytest.mark.parametrize(
    ("gained", "lost", "both", "verdict"),
    [
        (
            0,
            0,
            110,
            "PROMOTE",
        ),  # no disagreement on 110 rows: were it 3 % worse, that had a chance of 3.5 %
        (0, 0, 60, "INCONCLUSIVE"),  # on 60 rows, of 16 %
        (12, 1, 100, "PROMOTE"),
        (1, 12, 100, "REJECT"),
        (3, 4, 100, "INCONCLUSIVE"),
        (30, 30, 10_000, "PROMOTE"),
    ],
)
def test_verdict_follows_the_rows_on_which_the_two_disagree(
    gained: int, lost: int, both: int, verdict: str
) -> None:
    assert decide(evaluation(), GATE, pair(gained, lost, both)).verdict == verdict


def test_model_of_the_same_data_must_be_better() -> None:
    verdict = decide(evaluation(), GATE, pair(0, 0, 110, has_new_training_groups=False))
    assert verdict.verdict == "INCONCLUSIVE"
    assert "not shown to be better, and was trained on no rows but the champion's" in verdict.reason
    assert "a difference of 6.0% would have been shown 80% of the time" in verdict.reason
    assert (
        decide(evaluation(), GATE, pair(12, 1, 100, has_new_training_groups=False)).verdict
        == "PROMOTE"
    )


def test_model_that_is_worse_on_one_slice_is_rejected() -> None:
    slices = {
        "island Dream": np.arange(140) < 12,
        "island Biscoe": np.arange(140) >= 12,
    }  # the first 12 are lost
    worse = pair(0, 12, 128)
    assert decide(evaluation(), GATE, worse).verdict == "REJECT"
    balanced = compare(np.arange(140) >= 12, np.arange(140) < 128, GATE, True, slices)
    verdict = decide(evaluation(), GATE, balanced)
    assert verdict.verdict == "REJECT"
    assert (
        "It is worse than the champion on rows with island Dream: of 12 it gains 0 and loses 12"
        in verdict.reason
    )


def test_models_that_cannot_be_compared_are_inconclusive() -> None:
    not_comparable = NotComparable("version 1 was trained on 3 of the 110 holdout rows")
    verdict = decide(evaluation(), GATE, not_comparable)
    assert verdict.verdict == "INCONCLUSIVE"
    assert verdict.reason == (
        "No comparison with the champion is possible: version 1 was trained on 3 of the 110 "
        "holdout rows."
    )


@pytest.mark.parametrize(("gained", "lost"), [(12, 1), (1, 12), (5, 5), (0, 0)])
def test_exact_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    comparison = pair(gained, lost, 100)
    both_sided = mcnemar([[100, lost], [gained, 0]], exact=True).pvalue
    assert min(1.0, 2 * min(comparison.p_worse, comparison.p_better)) == pytest.approx(both_sided)


def test_bound_without_disagreement_is_tangos_closed_form() -> None:
    z2 = norm.isf(0.05) ** 2
    assert difference_lower_limit(0, 0, 100, 0.05) == pytest.approx(-z2 / (100 + z2))


def test_score_at_no_difference_is_mcnemars() -> None:
    assert tango_score(12, 5, 100, 0.0) == pytest.approx((12 - 5) / np.sqrt(12 + 5))


def test_score_interval_of_tangos_example() -> None:
    """Tango (1998), table 2, example of 44 pairs with 1 and 3 discordant: the 95 % limits of the
    difference.
    """
    low = difference_lower_limit(1, 3, 44, 0.025)
    high = -difference_lower_limit(3, 1, 44, 0.025)
    score = [tango_score(1, 3, 44, limit) for limit in (low, high)]
    assert score == pytest.approx([norm.isf(0.025), -norm.isf(0.025)], abs=1e-6)


def test_limit_covers_the_truth_about_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    n, gain, loss = 300, 0.04, 0.07
    draws = random.multinomial(n, [gain, loss, 1 - gain - loss], size=2000)
    missed = sum(difference_lower_limit(g, lost, n, 0.05) > gain - loss for g, lost, _ in draws)
    assert binomtest(missed, 2000, 0.05).pvalue > 0.001


def test_every_check_is_listed_passed_or_failed() -> None:
    checks = run_checks(evaluation(), GATE)
    assert [check.name for check in checks] == [
        "accuracy", "recall of Adelie", "recall of Gentoo", "accuracy on island Dream", "unknown predictions", "calibration error",
        "prediction sets cover 90% (p-value)", "OOD scores not finite", "OOD scores of 0",
        "OOD score against noise (AUROC)", "behavior: b", "parity with torch", "golden row mismatches", "difference between batch sizes",
        "bytes of the file", "milliseconds per row",
    ]  # fmt: skip
    assert all(check.passed and check.message is None for check in checks)


def outcomes(n: int, gain: float, loss: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gained, lost and probability of every outcome of n paired rows."""
    gained, lost = np.mgrid[: n + 1, : n + 1]
    inside = gained + lost <= n
    gained, lost = gained[inside], lost[inside]
    return (
        gained,
        lost,
        multinomial.pmf(
            np.stack([gained, lost, n - gained - lost], 1), n, [gain, loss, 1 - gain - loss]
        ),
    )


@pytest.mark.parametrize(("n", "margin"), [(40, 0.05), (70, 0.03), (110, 0.03)])
def test_truly_worse_model_is_promoted_no_more_often_than_stated(n: int, margin: float) -> None:
    """By every outcome's own probability, not by drawing: a challenger worse by the margin,
    whatever the disagreement.
    """
    gate = Gate(margin=margin)
    gained, lost, _ = outcomes(n, 0.1, 0.1)
    scores = tango_score(gained, lost, n, -margin)
    order = np.argsort(
        -scores
    )  # p falls as the score rises: bisect for the last outcome that is promoted
    first = bisect_left(
        order,
        True,
        key=lambda i: inferiority_p_value(int(gained[i]), int(lost[i]), n, margin) > gate.alpha,
    )
    promoted = scores >= scores[order[first - 1]]
    chances = [
        outcomes(n, background / 2, background / 2 + margin)[2][promoted].sum()
        for background in (0.0, 0.013, 0.05, 0.1, 0.3)
    ]
    assert gate.alpha / 3 < max(chances) <= gate.alpha + 1e-6


def test_exact_p_is_the_sum_over_all_outcomes_at_least_as_good() -> None:
    n, margin, (g, k) = 50, 0.03, (2, 1)
    worst = 0.0
    for share in np.geomspace(margin, 1, 400):
        gained, lost, chance = outcomes(n, (share - margin) / 2, (share + margin) / 2)
        reached = tango_score(gained, lost, n, -margin) >= tango_score(g, k, n, -margin) - 1e-9
        worst = max(worst, chance[reached].sum())
    assert inferiority_p_value(g, k, n, margin) == pytest.approx(worst)


def test_detectable_difference_is_detected_as_often_as_stated() -> None:
    n, level = 200, 0.05
    difference = minimum_detectable_difference(8, n, level)
    share = max(8 / n, difference)
    draws = np.random.default_rng(0).multinomial(
        n, [(share + difference) / 2, (share - difference) / 2, 1 - share], size=1000
    )
    shown = sum(
        binomtest(int(g), int(g + k), 0.5, "greater").pvalue < level for g, k, _ in draws if g + k
    )
    assert binomtest(shown, 1000, 0.8).pvalue > 0.001
    assert minimum_detectable_difference(0, 3, level) == 1.0  # three rows show nothing


def test_difference_whose_p_is_alpha_is_neither_shown_nor_detectable() -> None:
    gate = GATE.model_copy(update={"alpha": 1 / 8})
    champion, challenger = np.array([False] * 3), np.array([True] * 3)
    comparison = compare(challenger, champion, gate, has_new_training_groups=False)
    assert comparison.p_better == gate.alpha
    assert decide(evaluation(), gate, comparison).verdict == "INCONCLUSIVE"
    assert comparison.minimum_detectable_difference == 1.0


def test_coverage_test_rejects_valid_sets_as_rarely_as_stated() -> None:
    random = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        # Scores of exchangeable rows: the threshold from 40 of them, coverage on 60.
        scores = random.random(100)
        threshold = np.sort(scores[:40])[36]  # ceil(41 * 0.9) = 37th
        covered = int((scores[40:] <= threshold).sum())
        p_values.append(coverage_p_value(covered, 60, 40, 0.9))
    below_alpha = sum(p_value <= 0.05 for p_value in p_values)
    # About 20 of 400, and fewer since counts are whole numbers.
    assert 1 <= below_alpha <= 32
    # Five rows promise nothing.
    assert coverage_p_value(30, 60, 5, 0.9) == 1.0


@pytest.mark.parametrize(
    "rows", [slice(None, None, 3), pytest.param(slice(None), marks=pytest.mark.slow)], ids=str
)
def test_table_in_the_docs_is_what_the_gate_does(rows: slice) -> None:
    document = (ROOT / "docs" / "concepts" / "gate.md").read_text()
    lines = [line for line in document.splitlines() if line.startswith("| 70 |")]
    assert len(lines) == 9
    for line in lines[rows]:
        _, difference, promoted, _, rejected, inconclusive = line.split("|")[1:-1]
        counts = frequencies(70, float(difference.strip(" %")) / 100, True)
        verdicts = ("PROMOTE", "REJECT", "INCONCLUSIVE")
        shares = [f" {counts[verdict] / DRAWS:.1%} " for verdict in verdicts]
        assert shares == [promoted, rejected, inconclusive]
