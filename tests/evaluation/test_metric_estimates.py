"""Metrics that a recipe may name: scikit-learn is the oracle of their values."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from creche.evaluation.estimates import metric_estimates, metric_value, statistic_of
from creche.evaluation.intervals import GroupBootstrap, share_interval
from creche.evaluation.metric_values import (
    STATISTICS,
    LabeledPredictions,
    MetricOptions,
)
from creche.evaluation.ranking import MAX_EDGES
from creche.evaluation.statistic import membership
from creche.recipe import METRICS

CLASSES = ("low", "middle", "high")
COST = np.array([[0.0, 1, 5, 5], [2, 0, 1, 7], [9, 3, 0, 9]])
OPTIONS = MetricOptions(COST, is_ordered=True)


def draw(
    seed: int, n: int, share: float = 0.2, ties: bool = False, k: int = 3
) -> LabeledPredictions:
    """Return predictions of which every class has a row."""
    generator = np.random.default_rng(seed)
    others = np.full(k - 1, share / (k - 1))
    actual = generator.choice(k, n, p=[1 - share, *others])
    actual[:k] = np.arange(k)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), actual] += 1
    probabilities = np.exp(logits)
    if ties:
        probabilities = np.ceil(probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return LabeledPredictions(actual, probabilities.argmax(axis=1), probabilities)


def in_scikit_learn(
    rows: LabeledPredictions, weights: np.ndarray | None = None
) -> dict[str, float]:
    y, predicted, p = rows.actual, rows.predicted, rows.probabilities
    k = p.shape[1]
    one_hot = np.eye(k)[y]
    score = p[:, 1] if k == 2 else p
    return {
        "accuracy": sk.accuracy_score(y, predicted, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted, sample_weight=weights),
        "macro_f1": sk.f1_score(
            y, predicted, labels=np.unique(y), average="macro", sample_weight=weights
        ),
        "log_loss": sk.log_loss(y, p, sample_weight=weights),
        "brier_score": sk.brier_score_loss(y, p, sample_weight=weights),
        "roc_auc": sk.roc_auc_score(
            y, score, multi_class="ovr", average="macro", sample_weight=weights
        ),
        "average_precision": sk.average_precision_score(one_hot, p, sample_weight=weights),
        "expected_cost": np.average(COST[y, predicted], weights=weights),
        "quadratic_kappa": sk.cohen_kappa_score(
            y, predicted, weights="quadratic", labels=range(k), sample_weight=weights
        ),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(6, 60), st.booleans(), st.sampled_from([2, 3]))
def test_every_metric_is_that_of_scikit_learn(seed: int, n: int, ties: bool, k: int) -> None:
    rows = draw(seed, n, 0.5, ties, k)
    expected = in_scikit_learn(rows)
    assert set(expected) == set(STATISTICS) == set(METRICS)
    for name, value in expected.items():
        assert metric_value(name, rows, OPTIONS) == pytest.approx(value, abs=1e-9), name


def test_resample_is_the_metric_of_weighted_rows() -> None:
    rows = draw(1, 80, 0.5)
    weights = np.random.default_rng(2).integers(1, 4, size=(80, 3)).astype(float)
    for column in weights.T:
        for name, value in in_scikit_learn(rows, column).items():
            resampled = statistic_of(name, rows, OPTIONS).values(column[:, None])
            assert resampled[0] == pytest.approx(value, abs=1e-9), name


def test_influence_is_what_one_more_row_changes() -> None:
    rows = draw(3, 400, 0.5)
    for name in STATISTICS:
        statistic = statistic_of(name, rows, OPTIONS)
        influence = statistic.influence()
        assert influence.sum() == pytest.approx(0, abs=1e-6), name
        step = 1e-3
        weights = np.ones((400, 50)) + step * np.eye(400)[:, :50]
        changes = (statistic.values(weights) - statistic.value()) / step
        assert influence[:50] == pytest.approx(changes, rel=0.02, abs=1e-6), name


def test_binned_ranking_is_nearly_the_ranking() -> None:
    rows = draw(4, 3000)
    binned = MetricOptions(max_edges=MAX_EDGES)
    for name in ("roc_auc", "average_precision"):
        exact = metric_value(name, rows, OPTIONS)
        assert metric_value(name, rows, binned) == pytest.approx(exact, abs=0.01)


def unknown_rows(rows: LabeledPredictions, count: int) -> LabeledPredictions:
    labels = np.array([*CLASSES, "unknown"])
    predicted = rows.predicted.copy()
    predicted[:count] = 3
    probabilities = rows.probabilities.copy()
    probabilities[:count] = np.nan
    return LabeledPredictions.of(labels[rows.actual], labels[predicted], probabilities, CLASSES)


def test_unknown_prediction_counts_as_wrong_in_every_metric() -> None:
    """Each metric is no better than where the row is predicted correctly, with certainty."""
    rows = draw(5, 60, 0.5)
    correct = rows.probabilities.copy()
    correct[:9] = np.eye(3)[rows.actual[:9]]
    right = LabeledPredictions(rows.actual, correct.argmax(axis=1), correct)
    unknown = unknown_rows(right, 9)
    for name, definition in METRICS.items():
        before = metric_value(name, right, OPTIONS)
        after = metric_value(name, unknown, OPTIONS)
        assert (after < before) if definition.direction == "max" else (after > before), name


def test_unknown_prediction_costs_what_is_stated_and_is_farthest_in_kappa() -> None:
    rows = LabeledPredictions(
        np.array([0, 1, 2, 2]), np.array([3, 1, 2, 3]), np.full((4, 3), 1 / 3)
    )
    assert metric_value("expected_cost", rows, OPTIONS) == (5 + 0 + 0 + 9) / 4
    farthest = LabeledPredictions(rows.actual, np.array([2, 1, 2, 0]), rows.probabilities)
    kappa = metric_value("quadratic_kappa", farthest, OPTIONS)
    assert metric_value("quadratic_kappa", rows, OPTIONS) == kappa
    # No other row is ranked behind an unknown row of the class.
    assert metric_value("roc_auc", rows, OPTIONS) < 0.5


def test_metric_without_what_it_needs_is_left_out() -> None:
    rows = draw(6, 30)
    estimates = metric_estimates(rows, MetricOptions(), np.arange(30), CLASSES)
    assert "expected_cost" not in estimates
    assert "quadratic_kappa" not in estimates
    assert set(estimates) > {"accuracy", "log_loss", "recall of low", "precision of high"}


def test_class_without_rows_is_no_part_of_a_mean_over_classes() -> None:
    actual = np.array([0, 0, 1, 1])
    rows = LabeledPredictions(actual, np.array([0, 1, 1, 1]), np.eye(3)[[0, 1, 1, 1]])
    assert metric_value("balanced_accuracy", rows, OPTIONS) == 0.75
    one_class = LabeledPredictions(np.zeros(4, int), np.zeros(4, int), np.full((4, 3), 1 / 3))
    assert metric_value("roc_auc", one_class, OPTIONS) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimates = metric_estimates(one_class, OPTIONS, np.arange(4), CLASSES)
    assert estimates["roc_auc"].low is None
    assert estimates["recall of high"].value is None
    assert estimates["precision of high"].rows == 0


def test_interval_of_independent_rows_is_wilsons() -> None:
    hits = np.arange(40) < 31
    expected = proportion_confint(31, 40, 0.05, method="wilson")
    assert share_interval(hits, np.arange(40)) == pytest.approx(expected)


def test_rows_that_are_alike_in_a_group_count_as_one() -> None:
    hits = np.repeat(np.arange(40) < 31, 5)
    groups = np.repeat(np.arange(40), 5)
    low, high = share_interval(hits, groups)
    alone = share_interval(hits[::5], np.arange(40))
    assert (low, high) == pytest.approx(alone, abs=0.01)
    # Nothing shows whether they are alike, so that they are taken to be.
    all_right = share_interval(np.ones(200, bool), groups)
    assert all_right == pytest.approx(share_interval(np.ones(40, bool), np.arange(40)))


def test_bootstrap_of_groups_is_as_wide_as_their_number_says() -> None:
    rows = draw(7, 300, 0.5)
    copies = LabeledPredictions(
        np.tile(rows.actual, 4), np.tile(rows.predicted, 4), np.tile(rows.probabilities, (4, 1))
    )
    groups = np.tile(np.arange(300), 4)
    for name in ("macro_f1", "log_loss"):
        of_rows = GroupBootstrap(np.arange(300)).interval(statistic_of(name, rows, OPTIONS))
        of_copies = GroupBootstrap(groups).interval(statistic_of(name, copies, OPTIONS))
        assert of_copies == pytest.approx(of_rows)
    standard_error = sk.log_loss(rows.actual, rows.probabilities)
    losses = -np.log(rows.probabilities[np.arange(300), rows.actual])
    standard_error = losses.std() / np.sqrt(300)
    width = of_rows.high - of_rows.low
    assert width == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_holdout_without_mistakes_has_no_bootstrap_interval() -> None:
    actual = np.arange(30) % 3
    rows = LabeledPredictions(actual, actual, np.eye(3)[actual])
    estimates = metric_estimates(rows, OPTIONS, np.arange(30), CLASSES)
    assert estimates["macro_f1"].value == 1.0
    assert estimates["macro_f1"].low is None
    assert estimates["accuracy"].low == pytest.approx(0.8865, abs=1e-4)


def test_many_groups_are_drawn_in_blocks() -> None:
    rows = draw(8, 20_000)
    interval = GroupBootstrap(np.arange(20_000)).interval(statistic_of("log_loss", rows, OPTIONS))
    losses = -np.log(rows.probabilities[np.arange(20_000), rows.actual])
    width = 2 * 1.96 * losses.std() / np.sqrt(20_000)
    assert interval.high - interval.low == pytest.approx(width, rel=0.1)


def test_membership_has_one_group_for_each_row() -> None:
    matrix = membership(np.array([7, 3, 7]))
    assert matrix.toarray().tolist() == [[0, 1], [1, 0], [0, 1]]
