"""The checks of what a recipe says about metrics, costs, class weights and the decision."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from creche.contract import UNKNOWN, Column
from creche.recipe.metrics import METRICS, MOST_LIKELY, CostMatrix, MetricName

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe


def check_metrics(recipe: "Recipe") -> None:
    """Check that the recipe has what its metrics, its decision and its class weights need.

    Raises:
        ValueError: it has not; the message begins with the key.
    """
    if recipe.cost is not None:
        _check_cost(recipe.cost, recipe.classes)
    if "accuracy" in recipe.gate.metrics:
        raise ValueError(
            "gate.metrics.accuracy: the least accuracy has a key of its own: state it as "
            "gate.accuracy"
        )
    for metric, threshold in recipe.gate.metrics.items():
        _check_metric(f"gate.metrics.{metric}", metric, recipe)
        _check_share(f"gate.metrics.{metric}", metric, threshold)
    _check_metric("gate.primary", recipe.gate.primary, recipe)
    if METRICS[recipe.gate.primary].is_share and recipe.gate.margin >= 1:
        raise ValueError(
            f"gate.margin: is {recipe.gate.margin:g}, and {METRICS[recipe.gate.primary].title} is "
            "at most 1: state a margin below 1"
        )
    _check_decision(recipe)
    weights = recipe.training.class_weights
    if isinstance(weights, dict):
        _check_classes("training.class_weights", weights, recipe.classes)
        for name, weight in weights.items():
            if weight <= 0:
                raise ValueError(
                    f"training.class_weights.{name}: is {weight:g}: state a number above 0"
                )


def is_ordered(column: Column) -> bool:
    """Return whether the values of a label are listed from low to high."""
    # Bins of a number have its order.
    return column.ordered or column.kind == "bins"


def _check_metric(key: str, name: MetricName, recipe: "Recipe") -> None:
    """Check that a metric is defined under the recipe."""
    needs = METRICS[name].needs
    if needs == "cost" and recipe.cost is None:
        raise ValueError(
            f"{key}: {name} is the mean of the costs under cost, and this recipe has no such key: "
            "add cost: {ACTUAL CLASS: {PREDICTED CLASS: NUMBER}}"
        )
    if needs == "order" and not is_ordered(recipe.columns[recipe.label]):
        raise ValueError(
            f"{key}: {name} is for classes that have an order, and columns.{recipe.label} states "
            "none: add ordered: true there if its values are listed from low to high"
        )


def _check_share(key: str, name: MetricName, threshold: float) -> None:
    if METRICS[name].is_share and not 0 <= threshold <= 1:
        raise ValueError(f"{key}: is {threshold:g}, and {name} is from 0 to 1: state such a number")


def _check_decision(recipe: "Recipe") -> None:
    # Not by MOST_LIKELY: a test of the type is what tells mypy that there is a metric.
    if isinstance(recipe.decision, str):
        return
    _check_metric("decision", recipe.decision.metric, recipe)
    key = recipe.split.validation_key
    if not recipe.split.has_validation:
        raise ValueError(
            f"decision: its class weights are chosen on the validation rows, and {key} is 0, so "
            f"there are none: raise {key}, or use {MOST_LIKELY}"
        )


def _check_cost(cost: CostMatrix, classes: tuple[str, ...]) -> None:
    _check_classes("cost", cost, classes)
    for actual in classes:
        if actual not in cost:
            raise ValueError(f"cost: lacks the class {actual}: add what its rows cost")
        row = cost[actual]
        _check_classes(f"cost.{actual}", row, (*classes, UNKNOWN))
        for predicted in classes:
            if predicted not in row and predicted != actual:
                raise ValueError(
                    f"cost.{actual}: lacks {predicted}: add what it costs to predict {predicted} "
                    f"for a row that is {actual}"
                )
        for predicted, value in row.items():
            if not math.isfinite(value):
                raise ValueError(f"cost.{actual}.{predicted}: is {value}: state a finite number")


def _check_classes(key: str, names: Iterable[str], classes: tuple[str, ...]) -> None:
    for name in names:
        if name not in classes:
            raise ValueError(f"{key}: '{name}' is no class: use {', '.join(classes)}")
