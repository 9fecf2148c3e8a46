"""The comparison of challenger and champion by a metric other than accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from creche.evaluation.metric_values import LabeledPredictions, MetricOptions
from creche.evaluation.paired import pair_metric
from creche.gate import NotComparable, PairedMetric, compare_metric
from creche.pipeline.evaluate import probability_column
from creche.recipe import METRICS, Recipe
from creche.records import MetricComparison

MIN_SLICE_GROUPS = 20  # of a slice; fewer show no difference, whatever it is


@dataclass(frozen=True)
class HoldoutPredictions:
    """What a model predicts for the holdout rows."""

    labels: np.ndarray  # (n,)
    probabilities: np.ndarray  # (n, classes); NaN where a row is predicted as unknown

    @classmethod
    def of(cls, rows: pd.DataFrame, classes: tuple[str, ...]) -> "HoldoutPredictions":
        """Return the predictions of a table with `predicted` and `probability_CLASS`, numbers or
        texts.
        """
        columns = rows[[probability_column(name) for name in classes]]
        probabilities = columns.replace("", np.nan).to_numpy(np.float64)
        return cls(rows["predicted"].to_numpy(), probabilities)

    def labeled(self, actual: np.ndarray, classes: tuple[str, ...]) -> LabeledPredictions:
        """Return them beside the true labels (n,)."""
        return LabeledPredictions.of(actual, self.labels, self.probabilities, classes)


@dataclass(frozen=True)
class PairedRows:
    """What both models predict for the holdout rows."""

    challenger: LabeledPredictions
    champion: LabeledPredictions
    groups: np.ndarray  # (n,)
    recipe: Recipe

    def pair(self, mask: np.ndarray) -> PairedMetric | None:
        """Return the primary metric of both on some of the rows; None where it is not defined."""
        return pair_metric(
            self.recipe.gate.primary,
            self.challenger.rows(mask),
            self.champion.rows(mask),
            MetricOptions.of_recipe(self.recipe),
            self.groups[mask],
        )


def compare_by_metric(
    rows: PairedRows, has_new_training_groups: bool, slices: Mapping[str, np.ndarray]
) -> MetricComparison | NotComparable:
    """Return the paired evidence by `gate.primary`, or why there is none.

    Args:
        rows: the holdout.
        has_new_training_groups: whether the challenger was trained on groups that the champion was
            not.
        slices: name → mask (n,) of its rows.
    """
    gate = rows.recipe.gate
    of_all = rows.pair(np.ones(len(rows.groups), bool))
    if of_all is None:
        title = METRICS[gate.primary].title
        return NotComparable(f"{title} is not defined on this holdout, which lacks a class")
    of_slices = {}
    for name, mask in slices.items():
        if len(np.unique(rows.groups[mask])) >= MIN_SLICE_GROUPS:
            paired = rows.pair(mask)
            if paired is not None:
                of_slices[name] = paired
    return compare_metric(of_all, gate, has_new_training_groups, of_slices)
