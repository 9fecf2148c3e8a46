"""Class weights of the decision, against all weights of a grid."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from creche.evaluation.decision import choose_weights
from creche.evaluation.metric_values import MetricOptions
from creche.model.decision import DecisionWeights
from creche.recipe import MetricName

CLASSES = ("common", "rare", "rarest")
COST = np.array([[0.0, 1, 1, 1], [20, 0, 5, 20], [50, 10, 0, 50]])
OPTIONS = MetricOptions(cost=COST)


def probabilities(seed: int, shares: list[float], n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    k = len(shares)
    actual = generator.choice(k, n, p=shares)
    logits = generator.normal(size=(n, k)) + np.log(shares)
    logits[np.arange(n), actual] += 1.5
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32), actual


def value(metric: MetricName, p: np.ndarray, actual: np.ndarray, weights: np.ndarray) -> float:
    predicted = (p * weights.astype(np.float32)).argmax(axis=1)
    if metric == "macro_f1":
        return f1_score(actual, predicted, average="macro", labels=np.unique(actual))
    if metric == "balanced_accuracy":
        return balanced_accuracy_score(actual, predicted)
    return float(COST[actual, predicted].mean())


def chosen(metric: MetricName, p: np.ndarray, actual: np.ndarray) -> DecisionWeights:
    return choose_weights(p, actual, CLASSES[: p.shape[1]], metric, OPTIONS)


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "expected_cost"])
def test_weight_of_two_classes_is_the_best_there_is(metric: MetricName) -> None:
    p, actual = probabilities(0, [0.95, 0.05])
    decision = chosen(metric, p, actual)
    on_grid = [value(metric, p, actual, np.array([1, w])) for w in np.geomspace(0.1, 100, 100)]
    sign = -1 if metric == "expected_cost" else 1
    assert sign * decision.value >= max(sign * np.array(on_grid)) - 1e-12
    weights = decision.as_array(CLASSES[:2])
    assert decision.value == pytest.approx(value(metric, p, actual, weights))
    assert weights[0] == 1
    assert weights[1] > 1
    most_likely = value(metric, p, actual, np.ones(2))
    assert decision.value_of_most_likely == pytest.approx(most_likely)


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "expected_cost"])
def test_weights_of_three_classes_are_nearly_the_best(metric: MetricName) -> None:
    p, actual = probabilities(1, [0.9, 0.07, 0.03])
    decision = chosen(metric, p, actual)
    best = -np.inf
    sign = -1 if metric == "expected_cost" else 1
    for second in np.geomspace(0.1, 100, 12):
        for third in np.geomspace(0.1, 100, 12):
            best = max(best, sign * value(metric, p, actual, np.array([1, second, third])))
    assert sign * decision.value >= best - 0.01 * abs(best)


def test_weights_that_nothing_improves_are_1() -> None:
    actual = np.arange(60) % 3
    decision = chosen("macro_f1", np.eye(3, dtype=np.float32)[actual], actual)
    assert set(decision.weights.values()) == {1.0}
    assert decision.value == decision.value_of_most_likely == 1.0


def test_class_without_validation_rows_keeps_weight_1() -> None:
    p, actual = probabilities(2, [0.8, 0.1, 0.1])
    actual[actual == 2] = 0
    assert chosen("balanced_accuracy", p, actual).weights["rarest"] == 1.0
