"""A metric of two models on the same rows: what each group contributes to the difference, and the
difference where the predictions of groups are swapped.
"""

import numpy as np
from scipy import sparse

from creche.evaluation.metric_values import STATISTICS, LabeledPredictions, MetricOptions, scores
from creche.evaluation.ranking import MAX_EDGES, RANKINGS, paired_rankings
from creche.evaluation.statistic import Statistic, membership
from creche.gate import Contributions, PairedMetric
from creche.recipe import METRICS, MetricName

SEED = 0
MAX_SWAPS = 1999
MIN_SWAPS = 499
# Entries of the contributions times swaps that are computed within a second or so.
MAX_PRODUCTS = 1e8
# More groups are swapped in blocks of several, at random.
MAX_BLOCKS = 4096
# Metrics of labels: two models may agree on all rows, which says little of other rows.
OF_LABELS: tuple[MetricName, ...] = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "expected_cost",
    "quadratic_kappa",
)


def pair_metric(
    metric: MetricName,
    challenger: LabeledPredictions,
    champion: LabeledPredictions,
    options: MetricOptions,
    groups: np.ndarray,
) -> PairedMetric | None:
    """Return the metric of two models on the same rows; None where it is not defined on them.

    Args:
        metric: to compare them by.
        challenger: its predictions.
        champion: its predictions of the same rows.
        options: of the recipe.
        groups: of each row (n,).
    """
    of_challenger = STATISTICS[metric](challenger, options).value()
    of_champion = STATISTICS[metric](champion, options).value()
    if of_challenger is None or of_champion is None:
        return None
    sign = 1.0 if METRICS[metric].direction == "max" else -1.0
    difference = sign * (of_challenger - of_champion)
    pair = _statistics(metric, challenger, champion, options)
    contributions = Contributions(difference, _contributions(pair, sign, challenger.actual, groups))
    adverse = contributions.with_most_adverse_again()
    if metric in OF_LABELS:
        adverse = _with_adverse_rows(metric, challenger, champion, options, groups)
    swapped = sign * _swapped(pair, groups)
    # Rankings are binned where groups are swapped, and the difference itself is not.
    binned = sign * (_value(pair[0]) - _value(pair[1]))
    return PairedMetric(
        rows=len(groups),
        challenger=of_challenger,
        champion=of_champion,
        contributions=contributions,
        with_adverse_rows=adverse,
        swapped=swapped + (difference - binned),
    )


def _statistics(
    metric: MetricName,
    challenger: LabeledPredictions,
    champion: LabeledPredictions,
    options: MetricOptions,
) -> tuple[Statistic, Statistic]:
    """Return the metric of both as functions of the same totals."""
    if metric not in RANKINGS:
        build = STATISTICS[metric]
        return build(challenger, options), build(champion, options)
    classes = range(challenger.class_count)
    first = [scores(challenger, index) for index in classes]
    second = [scores(champion, index) for index in classes]
    return paired_rankings(challenger.actual, first, second, RANKINGS[metric], MAX_EDGES)


def _contributions(
    pair: tuple[Statistic, Statistic], sign: float, actual: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Return what each group (groups,) contributes to the difference.

    Those of a class that m groups have are scaled by the root of m / (m - 1), as the variance of a
    sample is: of a rare class the rows would seem more alike than those of the population.
    """
    by_row = sign * (pair[0].influence() - pair[1].influence())
    _, codes = np.unique(groups, return_inverse=True)
    for index in np.unique(actual):
        of_class = actual == index
        count = len(np.unique(codes[of_class]))
        if count > 1:
            by_row[of_class] *= np.sqrt(count / (count - 1))
    contributions: np.ndarray = np.bincount(codes, by_row)
    return contributions


def _with_adverse_rows(
    metric: MetricName,
    challenger: LabeledPredictions,
    champion: LabeledPredictions,
    options: MetricOptions,
    groups: np.ndarray,
) -> Contributions:
    """Return the contributions on the rows and one more group of each class, as large as its others
    are, which the champion predicts correctly and the challenger as unknown.
    """
    _, codes = np.unique(groups, return_inverse=True)
    classes, rows_of_class = np.unique(challenger.actual, return_counts=True)
    sizes = []
    for index, rows in zip(classes, rows_of_class, strict=True):
        groups_of_class = len(np.unique(codes[challenger.actual == index]))
        sizes.append(round(rows / groups_of_class))
    added = np.repeat(classes, sizes)
    worse = _with_rows(challenger, added, np.full_like(added, challenger.class_count))
    better = _with_rows(champion, added, added)
    new_groups = codes.max() + 1 + np.repeat(np.arange(len(classes)), sizes)
    pair = _statistics(metric, worse, better, options)
    sign = 1.0 if METRICS[metric].direction == "max" else -1.0
    difference = sign * (_value(pair[0]) - _value(pair[1]))
    all_groups = np.concatenate([codes, new_groups])
    return Contributions(difference, _contributions(pair, sign, worse.actual, all_groups))


def _with_rows(
    rows: LabeledPredictions, actual: np.ndarray, predicted: np.ndarray
) -> LabeledPredictions:
    k = rows.class_count
    uniform = np.full((len(actual), k), 1 / k)
    return LabeledPredictions(
        np.concatenate([rows.actual, actual]),
        np.concatenate([rows.predicted, predicted]),
        np.concatenate([rows.probabilities, uniform]),
    )


def _value(statistic: Statistic) -> float:
    value = statistic.value()
    assert value is not None
    return value


def _swapped(pair: tuple[Statistic, Statistic], groups: np.ndarray) -> np.ndarray:
    """Return the difference (B,) where each group is swapped with a chance of one half."""
    generator = np.random.default_rng(SEED)
    _, codes = np.unique(groups, return_inverse=True)
    count = int(codes.max()) + 1
    if count > MAX_BLOCKS:
        codes = generator.permutation(count)[codes] % MAX_BLOCKS
    blocks = membership(codes)
    first = pair[0].by_group(blocks)
    second = pair[1].by_group(blocks)
    entries = sum(part.contributions.nnz for part in (*first.parts, *second.parts))
    swaps = int(np.clip(MAX_PRODUCTS / entries, MIN_SWAPS, MAX_SWAPS))
    is_swapped = generator.integers(0, 2, (blocks.shape[1], swaps)).astype(np.float64)
    total = np.zeros(swaps)
    defined = np.zeros(swaps)
    for own, other in zip(first.parts, second.parts, strict=True):
        moved = _only_different(own.contributions - other.contributions) @ is_swapped
        own_totals = np.asarray(own.contributions.sum(axis=1))[:, None]
        other_totals = np.asarray(other.contributions.sum(axis=1))[:, None]
        values = own.of_totals(own_totals - moved) - other.of_totals(other_totals + moved)
        is_defined = ~np.isnan(values)
        total += np.where(is_defined, values, 0.0)
        defined += is_defined
    differences: np.ndarray = total / np.maximum(defined, 1)
    return differences


def _only_different(contributions: sparse.csr_array) -> sparse.csr_array:
    """Return the same without entries of 0, which most groups have: both models agree there."""
    contributions.eliminate_zeros()
    return contributions
