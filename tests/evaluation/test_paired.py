"""A metric of two models on the same rows, by group."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from creche.evaluation.metric_values import LabeledPredictions, MetricOptions
from creche.evaluation.paired import pair_metric
from creche.gate import PairedMetric
from creche.recipe import METRICS, MetricName

OPTIONS = MetricOptions(np.array([[0.0, 1, 1], [9, 0, 9]]), is_ordered=True)


def models(
    n: int, handicap: float = 0.0, seed: int = 0, rare: float = 0.2
) -> tuple[LabeledPredictions, LabeledPredictions]:
    """Return two models of the same rows, of which the first separates the classes less."""
    generator = np.random.default_rng(seed)
    actual = (generator.random(n) < rare).astype(np.int64)
    shared = generator.normal(size=n)
    rows = []
    for separation in (2 - handicap, 2.0):
        score = separation * actual + 0.8 * shared + 0.6 * generator.normal(size=n)
        odds = np.exp(separation * score - separation**2 / 2) * rare / (1 - rare)
        p = odds / (1 + odds)
        rows.append(
            LabeledPredictions(actual, (p > 0.4).astype(np.int64), np.stack([1 - p, p], axis=1))
        )
    return rows[0], rows[1]


def paired(metric: MetricName, n: int, handicap: float, seed: int = 0) -> PairedMetric:
    result = pair_metric(metric, *models(n, handicap, seed), OPTIONS, np.arange(n))
    assert result is not None
    return result


@pytest.mark.parametrize("metric", METRICS)
def test_model_that_separates_less_is_shown_to_be_worse(metric: MetricName) -> None:
    result = paired(metric, 4000, 1.0)
    assert result.contributions.difference < 0
    assert result.p_worse() < 0.01
    assert result.p_better() > 0.9
    assert result.p_inferior(abs(result.contributions.difference) * 2) < 0.01
    assert result.p_inferior(abs(result.contributions.difference) / 2) > 0.9


def test_models_change_places() -> None:
    challenger, champion = models(500, 0.7)
    groups = np.arange(500)
    forward = pair_metric("macro_f1", challenger, champion, OPTIONS, groups)
    backward = pair_metric("macro_f1", champion, challenger, OPTIONS, groups)
    assert forward.contributions.difference == pytest.approx(-backward.contributions.difference)
    assert forward.p_worse() == pytest.approx(backward.p_better(), abs=0.02)


def test_test_of_a_mean_is_the_paired_t_test() -> None:
    challenger, champion = models(400, 0.3)
    result = pair_metric("log_loss", challenger, champion, OPTIONS, np.arange(400))
    losses = []
    for rows in (champion, challenger):
        losses.append(-np.log(rows.probabilities[np.arange(400), rows.actual]))
    expected = ttest_1samp(losses[0] - losses[1], 0, alternative="less")
    error = (losses[0] - losses[1]).std(ddof=1) / np.sqrt(400)
    assert result.contributions.standard_error == pytest.approx(error, rel=0.01)
    # The degrees of freedom are fewer: a few rows contribute most.
    assert result.contributions.degrees_of_freedom < 399
    p_worse = result.contributions.p_value()
    assert 1 - p_worse == pytest.approx(expected.pvalue, abs=0.01)


def test_copies_of_a_row_in_one_group_show_no_more() -> None:
    challenger, champion = models(300, 0.5)
    copies = np.repeat(np.arange(300), 4)
    groups = np.arange(300)
    for metric in ("macro_f1", "roc_auc"):
        alone = pair_metric(metric, challenger, champion, OPTIONS, groups)
        copied = pair_metric(
            metric, challenger.rows(copies), champion.rows(copies), OPTIONS, copies
        )
        error = copied.contributions.standard_error
        assert error == pytest.approx(alone.contributions.standard_error, rel=0.02)
        assert copied.p_worse() == pytest.approx(alone.p_worse(), abs=0.02)
        assert copied.p_inferior(0.1) == pytest.approx(alone.p_inferior(0.1), abs=0.02)


def test_models_that_agree_on_few_rare_rows_are_not_shown_to_be_alike() -> None:
    """Of 5 rare rows a sixth could be lost, which is 8 % of the balanced accuracy."""
    for rare_rows, is_shown in ((5, False), (200, True)):
        actual = np.repeat([0, 1], [400, rare_rows])
        rows = LabeledPredictions(actual, actual, np.eye(2)[actual])
        groups = np.arange(len(actual))
        result = pair_metric("balanced_accuracy", rows, rows, OPTIONS, groups)
        assert (result.p_inferior(0.05) < 0.05) is is_shown
        assert result.p_better() == result.p_worse() == 1.0
        assert result.contributions.minimum_detectable_difference(0.05) is None


def test_metric_that_the_rows_do_not_define_is_not_compared() -> None:
    rows = LabeledPredictions(np.zeros(9, int), np.zeros(9, int), np.full((9, 2), 0.5))
    assert pair_metric("roc_auc", rows, rows, OPTIONS, np.arange(9)) is None


def test_many_groups_are_swapped_in_blocks() -> None:
    result = paired("roc_auc", 10_000, 0.3)
    assert 499 <= len(result.swapped) <= 1999
    error = result.contributions.standard_error
    assert result.swapped.std() == pytest.approx(error, rel=0.15)
