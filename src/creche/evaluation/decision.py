"""Class weights of the decision: which class a row is predicted as, by probability times weight.

They are chosen on the validation rows by coordinate ascent: one class after the other gets the
weight that is best beside the others, until none improves. Probabilities, prediction sets and the
OOD score do not depend on them.
"""

import numpy as np
from scipy import sparse

from creche.evaluation.metric_values import STATISTICS, LabeledPredictions, MetricOptions
from creche.evaluation.statistic import Statistic
from creche.model.decision import MAX_WEIGHT, MIN_WEIGHT, DecisionWeights
from creche.recipe import METRICS, MetricName

CANDIDATES = 2000  # weights of one class that are tried, at most
SWEEPS = 10  # over the classes, at most
MIN_GAIN = 1e-12  # of the metric, below which a weight is no better


def choose_weights(
    probabilities: np.ndarray,
    actual: np.ndarray,
    classes: tuple[str, ...],
    metric: MetricName,
    options: MetricOptions,
) -> DecisionWeights:
    """Return the weights that are best for a metric of the validation rows.

    All weights are 1 where no others are better. The weight of a class without a validation row is
    1, for nothing shows what another one would do.

    Args:
        probabilities: of the validation rows (n, K).
        actual: their class indices (n,).
        classes: in the order of the columns of `probabilities`.
        metric: to make as large, or as small, as the weights can.
        options: of the recipe.
    """
    p = probabilities.astype(np.float64)
    search = _Search(p, actual, metric, options)
    weights = np.ones(len(classes))
    most_likely = search.value(weights)
    best = most_likely
    # One weight is free: only the ratios of the weights count.
    with_rows = np.flatnonzero(np.bincount(actual, minlength=len(classes)))[1:]
    for _ in range(SWEEPS):
        before = best
        for index in with_rows:
            candidate, value = search.best_weight(weights, index)
            if value > best + MIN_GAIN:
                weights[index] = candidate
                best = value
        if best <= before + MIN_GAIN:
            break
    rounded = weights.astype(np.float32)
    sign = search.sign
    return DecisionWeights(
        metric=metric,
        weights=dict(zip(classes, rounded.tolist(), strict=True)),
        rows=len(actual),
        value=sign * search.value(rounded),
        value_of_most_likely=sign * most_likely,
    )


class _Search:
    """The metric of the validation rows, the larger the better, for any weights."""

    def __init__(
        self, p: np.ndarray, actual: np.ndarray, metric: MetricName, options: MetricOptions
    ) -> None:
        self.p = p
        self.actual = actual
        self.metric = metric
        self.options = options
        self.sign = 1.0 if METRICS[metric].direction == "max" else -1.0

    def value(self, weights: np.ndarray) -> float:
        """Return the metric of the decision by weights (K,)."""
        predicted = (self.p * weights).argmax(axis=1)
        value = self._statistic(predicted).value()
        return self.sign * value if value is not None else -np.inf

    def best_weight(self, weights: np.ndarray, index: int) -> tuple[float, float]:
        """Return the best weight of one class beside those of the others, and the metric then."""
        weighted = self.p * weights
        weighted[:, index] = -1.0
        other = weighted.argmax(axis=1)  # (n,) the class where it is not this one
        with np.errstate(divide="ignore"):
            # (n,) the weight of this class from which on the row is predicted as it.
            critical = weighted.max(axis=1) / self.p[:, index]
        candidates = _between(critical)
        # A row of bucket b is predicted as this class by the candidates from b on.
        bucket = np.searchsorted(candidates, critical, "right")
        as_other = self._statistic(other).parts[0]
        as_this = self._statistic(np.full_like(other, index)).parts[0]
        moved = as_this.contributions - as_other.contributions
        n = len(bucket)
        by_bucket = sparse.csr_array(
            (np.ones(n), (np.arange(n), bucket)), shape=(n, len(candidates) + 1)
        )
        changes = (moved @ by_bucket).toarray()[:, :-1]  # (totals, candidates)
        start = np.asarray(as_other.contributions.sum(axis=1))[:, None]
        values = self.sign * as_other.of_totals(start + np.cumsum(changes, axis=1))
        values = np.where(np.isnan(values), -np.inf, values)
        best = float(values.max())
        # Of equally good weights the one that changes least.
        equal = candidates[values >= best - MIN_GAIN]
        nearest = equal[np.abs(np.log(equal)).argmin()]
        return float(nearest), best

    def _statistic(self, predicted: np.ndarray) -> Statistic:
        rows = LabeledPredictions(self.actual, predicted, self.p)
        return STATISTICS[self.metric](rows, self.options)


def _between(critical: np.ndarray) -> np.ndarray:
    """Return weights (c,), ascending, between the critical ones of the rows (n,)."""
    inside = critical[(critical > MIN_WEIGHT) & (critical < MAX_WEIGHT)]
    distinct = np.unique(np.log(inside))
    if len(distinct) > CANDIDATES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, CANDIDATES).astype(int)]
    middles = (distinct[:-1] + distinct[1:]) / 2
    ends = [np.log(MIN_WEIGHT), 0.0, np.log(MAX_WEIGHT)]
    weights: np.ndarray = np.exp(np.unique(np.concatenate([middles, ends])))
    weights = np.clip(weights, MIN_WEIGHT, MAX_WEIGHT)
    return weights
