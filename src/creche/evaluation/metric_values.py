"""The metrics that a recipe may name, each as a statistic of the rows of a holdout.

A row that is predicted as `unknown` counts as wrong. For the metrics of labels it is a prediction
that no class has: it lowers the recall of its class and no precision. Its cost is what the recipe
states for `unknown`, else that of the most expensive class; its distance in the quadratic kappa is
that of the class farthest away. Log loss and Brier score take its probabilities as uniform. ROC AUC
and average precision rank it behind all others of its class, and before all rows of each other
class.

scikit-learn defines each of them, and the tests hold them to it; here they are functions of totals,
so that a thousand resamples take no more than a second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from creche.contract import UNKNOWN
from creche.evaluation.ranking import RANKINGS, ranking
from creche.evaluation.statistic import Statistic
from creche.recipe import METRICS, MetricName, Recipe, is_ordered

# scikit-learn clips likewise, so that a probability of 0 has a finite loss.
MIN_PROBABILITY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LabeledPredictions:
    """What a model predicts for n rows whose label is known, of K classes."""

    actual: np.ndarray  # (n,) class indices
    predicted: np.ndarray  # (n,) class indices; K where the row is predicted as unknown
    probabilities: np.ndarray  # (n, K) float64; uniform where the row is predicted as unknown

    @classmethod
    def of(
        cls,
        actual: np.ndarray,
        predicted: np.ndarray,
        probabilities: np.ndarray,
        classes: tuple[str, ...],
    ) -> "LabeledPredictions":
        """Return the predictions of labels.

        Args:
            actual: labels (n,).
            predicted: labels (n,).
            probabilities: (n, K); NaN where the row is predicted as unknown.
            classes: in the order of the columns of `probabilities`.
        """
        index_of = {name: index for index, name in enumerate((*classes, UNKNOWN))}
        known = np.nan_to_num(probabilities.astype(np.float64), nan=1 / len(classes))
        return cls(
            np.array([index_of[label] for label in actual], np.int64),
            np.array([index_of[label] for label in predicted], np.int64),
            known / known.sum(axis=1, keepdims=True),
        )

    @property
    def class_count(self) -> int:
        """The number of classes."""
        count: int = self.probabilities.shape[1]
        return count

    def rows(self, mask: np.ndarray) -> "LabeledPredictions":
        """Return those of some rows: mask (n,)."""
        return LabeledPredictions(self.actual[mask], self.predicted[mask], self.probabilities[mask])

    @property
    def is_unknown(self) -> np.ndarray:
        """The mask (n,) of the rows that are predicted as unknown."""
        mask: np.ndarray = self.predicted == self.class_count
        return mask


@dataclass(frozen=True)
class MetricOptions:
    """What metrics need beside the predictions.

    Attributes:
        cost: of each actual and predicted class, (K, K + 1), `unknown` last; None: not stated.
        is_ordered: whether the classes have an order.
        max_edges: by how many scores a ranking is binned; None: by all of them.
    """

    cost: np.ndarray | None = None
    is_ordered: bool = False
    max_edges: int | None = None

    @classmethod
    def of_recipe(cls, recipe: Recipe, max_edges: int | None = None) -> "MetricOptions":
        """Return the options that a recipe states."""
        ordered = is_ordered(recipe.columns[recipe.label])
        return cls(cost_matrix(recipe), ordered, max_edges)

    def has(self, name: MetricName) -> bool:
        """Return whether a metric is defined."""
        needs = METRICS[name].needs
        if needs == "cost":
            return self.cost is not None
        return needs != "order" or self.is_ordered


def cost_matrix(recipe: Recipe) -> np.ndarray | None:
    """Return the cost (K, K + 1) of each actual and predicted class, `unknown` last; None where the
    recipe states none.
    """
    if recipe.cost is None:
        return None
    matrix = np.zeros((len(recipe.classes), len(recipe.classes) + 1))
    for row, actual in enumerate(recipe.classes):
        stated = recipe.cost[actual]
        for column, predicted in enumerate(recipe.classes):
            matrix[row, column] = stated.get(predicted, 0.0)
        matrix[row, -1] = stated.get(UNKNOWN, matrix[row, :-1].max())
    return matrix


def _accuracy(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    return _mean((rows.actual == rows.predicted).astype(np.float64))


def _balanced_accuracy(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    k = rows.class_count
    support = _indicators(rows.actual, k)
    hits = _indicators(rows.actual, k, rows.actual == rows.predicted)

    def of_totals(totals: np.ndarray) -> np.ndarray:
        return _mean_over_classes(totals[:k], totals[k:], totals[k:])

    return Statistic.of([hits, support], of_totals)


def _macro_f1(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    k = rows.class_count
    support = _indicators(rows.actual, k)
    hits = _indicators(rows.actual, k, rows.actual == rows.predicted)
    predicted = _indicators(rows.predicted, k)

    def of_totals(totals: np.ndarray) -> np.ndarray:
        hits, support, predicted = totals[:k], totals[k : 2 * k], totals[2 * k :]
        return _mean_over_classes(2 * hits, support + predicted, support)

    return Statistic.of([hits, support, predicted], of_totals)


def _log_loss(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    of_actual = rows.probabilities[np.arange(len(rows.actual)), rows.actual]
    return _mean(-np.log(np.maximum(of_actual, MIN_PROBABILITY)))


def _brier_score(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    k = rows.class_count
    of_actual = rows.probabilities[np.arange(len(rows.actual)), rows.actual]
    # Of the squared distance to 1 for the actual class and 0 for the others.
    squares = (rows.probabilities**2).sum(axis=1) - 2 * of_actual + 1
    # Of two classes both squares are the same, and the score has one of them, as in scikit-learn.
    return _mean(squares / 2 if k == 2 else squares)


def _expected_cost(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    assert options.cost is not None
    return _mean(options.cost[rows.actual, rows.predicted])


def _quadratic_kappa(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    k = rows.class_count
    farthest = np.where(rows.actual < k / 2, k - 1, 0)
    predicted = np.where(rows.is_unknown, farthest, rows.predicted)
    disagreement = (rows.actual - predicted) ** 2.0
    distances = (np.arange(k)[:, None] - np.arange(k)) ** 2.0

    def of_totals(totals: np.ndarray) -> np.ndarray:
        observed, actual, predicted = totals[0], totals[1 : k + 1], totals[k + 1 :]
        by_chance = (actual * (distances @ predicted)).sum(axis=0) / actual.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(by_chance > 0, 1 - observed / by_chance, np.nan)

    contributions = [
        sparse.csr_array(disagreement[None, :]),
        _indicators(rows.actual, k),
        _indicators(predicted, k),
    ]
    return Statistic.of(contributions, of_totals)


def _roc_auc(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    return _ranking("roc_auc", rows, options)


def _average_precision(rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    return _ranking("average_precision", rows, options)


Build = Callable[[LabeledPredictions, MetricOptions], Statistic]

# A new metric is one more entry here and in `creche.recipe.metrics`.
STATISTICS: dict[MetricName, Build] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "brier_score": _brier_score,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "expected_cost": _expected_cost,
    "quadratic_kappa": _quadratic_kappa,
}


def _ranking(name: MetricName, rows: LabeledPredictions, options: MetricOptions) -> Statistic:
    of_classes = [scores(rows, index) for index in range(rows.class_count)]
    return ranking(rows.actual, of_classes, RANKINGS[name], options.max_edges)


def scores(rows: LabeledPredictions, index: int) -> np.ndarray:
    """Return by what each row (n,) is ranked for a class against the rest."""
    is_positive = rows.actual == index
    of_class: np.ndarray = rows.probabilities[:, index].copy()
    # Behind all others where the row is of the class, before all others where it is not.
    of_class[rows.is_unknown & is_positive] = -1.0
    of_class[rows.is_unknown & ~is_positive] = 2.0
    return of_class


def _mean(values: np.ndarray) -> Statistic:
    """Return the mean of a value of each row (n,)."""

    def of_totals(totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = totals[0] / totals[1]
            return mean

    return Statistic.of([sparse.csr_array(np.stack([values, np.ones(len(values))]))], of_totals)


def _indicators(codes: np.ndarray, count: int, mask: np.ndarray | None = None) -> sparse.csr_array:
    """Return for each class (count, n) whether a row has its code, and is in the mask."""
    # A row that is predicted as unknown has the code of no class.
    is_counted = codes < count if mask is None else (codes < count) & mask
    positions = np.flatnonzero(is_counted)
    return sparse.csr_array(
        (np.ones(len(positions)), (codes[positions], positions)), shape=(count, len(codes))
    )


def _mean_over_classes(
    numerators: np.ndarray, denominators: np.ndarray, support: np.ndarray
) -> np.ndarray:
    """Return the mean (B,) of the ratios (K, B) over the classes that have rows."""
    has_rows = support > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(has_rows, numerators / denominators, 0.0)
        mean: np.ndarray = ratios.sum(axis=0) / has_rows.sum(axis=0)
        return mean
