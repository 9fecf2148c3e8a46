"""How often the paired tests of a metric other than accuracy err: the table in
docs/concepts/gate.md.

usage: python benchmarks/metric_level.py [DRAWS] > table.md

Holdouts are drawn (seed 0) from a population of two models: a common class and a rare one, scores
with noise that both share in part. Both models are equally good, so that every PROMOTE or REJECT
by them is an error, or the challenger is worse by the whole margin, so that `no worse` is. The
margin is the true difference, which is measured on the population.
"""

import sys
from dataclasses import dataclass

import numpy as np

from creche.evaluation.metric_values import STATISTICS, LabeledPredictions, MetricOptions
from creche.evaluation.paired import pair_metric
from creche.recipe import METRICS, MetricName

ALPHA = 0.05
POPULATION = 400_000  # rows
COST = MetricOptions(np.array([[0.0, 1, 1], [20, 0, 20]]))
METRIC_NAMES: tuple[MetricName, ...] = (
    "balanced_accuracy",
    "macro_f1",
    "expected_cost",
    "log_loss",
    "brier_score",
    "roc_auc",
    "average_precision",
)


@dataclass(frozen=True)
class Scenario:
    """A population of rows, and two models of it."""

    rows: int  # of a holdout
    rare: float  # share of the rare class
    group_size: int  # rows of a group, which are alike
    shared: float  # share of the noise that both models have in common, 0..1

    def name(self) -> str:
        groups = f", groups of {self.group_size}" if self.group_size > 1 else ""
        return f"{self.rows} rows, {self.rare:.0%} rare{groups}"


SCENARIOS = (
    Scenario(100, 0.1, 1, 0.8),
    Scenario(300, 0.05, 1, 0.8),
    Scenario(300, 0.3, 1, 0.8),
    Scenario(1000, 0.02, 1, 0.95),
    Scenario(1000, 0.05, 5, 0.8),
    Scenario(3000, 0.02, 1, 0.8),
)


def models(
    generator: np.random.Generator, scenario: Scenario, groups: int, handicap: float
) -> tuple[LabeledPredictions, LabeledPredictions, np.ndarray]:
    """Return what challenger and champion predict for the rows of so many groups, and the groups.

    Args:
        handicap: by which the challenger separates the classes less.
    """
    group_of_row = np.repeat(np.arange(groups), scenario.group_size)
    actual = (generator.random(groups) < scenario.rare).astype(np.int64)[group_of_row]
    common_noise = generator.normal(size=groups)[group_of_row]
    of_models = []
    for separation in (2.0 - handicap, 2.0):
        own_noise = generator.normal(size=groups)[group_of_row]
        noise = np.sqrt(scenario.shared) * common_noise + np.sqrt(1 - scenario.shared) * own_noise
        score = separation * actual + noise
        # The log odds of two normal distributions, as a calibrated model has them; the rare class
        # is predicted from lower odds on, as a decision does.
        log_odds = separation * score - separation**2 / 2
        probability = 1 / (1 + np.exp(-log_odds) * (1 - scenario.rare) / scenario.rare)
        predicted = (probability > 2 * scenario.rare).astype(np.int64)
        both = np.stack([1 - probability, probability], axis=1)
        of_models.append(LabeledPredictions(actual, predicted, both))
    return of_models[0], of_models[1], group_of_row


def true_difference(metric: MetricName, scenario: Scenario, handicap: float) -> float:
    """Return by how much the challenger is worse, in the unit of the metric."""
    generator = np.random.default_rng(1)
    groups = POPULATION // scenario.group_size
    challenger, champion, _ = models(generator, scenario, groups, handicap)
    values = [STATISTICS[metric](rows, COST).value() or 0.0 for rows in (challenger, champion)]
    difference = values[1] - values[0]
    return difference if METRICS[metric].direction == "max" else -difference


def error_rates(metric: MetricName, scenario: Scenario, draws: int) -> tuple[float, float, float]:
    """Return how often equal models are called better, and worse, and a model that is worse by the
    margin no worse.
    """
    generator = np.random.default_rng(0)
    groups = scenario.rows // scenario.group_size
    margin = true_difference(metric, scenario, 0.4)
    better = worse = no_worse = judged = 0
    while judged < draws:
        equal = models(generator, scenario, groups, 0.0)
        inferior = models(generator, scenario, groups, 0.4)
        of_equal = pair_metric(metric, equal[0], equal[1], COST, equal[2])
        of_inferior = pair_metric(metric, inferior[0], inferior[1], COST, inferior[2])
        # A holdout without a rare row is compared by no metric that needs one.
        if of_equal is None or of_inferior is None:
            continue
        judged += 1
        better += of_equal.p_better() < ALPHA
        worse += of_equal.p_worse() < ALPHA
        no_worse += of_inferior.p_inferior(margin) <= ALPHA
    return better / draws, worse / draws, no_worse / draws


def main(draws: int) -> None:
    header = (
        "holdout",
        "metric",
        "equal, called better",
        "equal, called worse",
        "worse by the margin, called no worse",
    )
    print("| " + " | ".join(header) + " |")
    print("| --- | --- | ---: | ---: | ---: |")
    for scenario in SCENARIOS:
        for metric in METRIC_NAMES:
            rates = [f"{rate:.1%}" for rate in error_rates(metric, scenario, draws)]
            title = METRICS[metric].title
            print(f"| {scenario.name()} | {title} | {' | '.join(rates)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
