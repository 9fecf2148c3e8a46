"""The metrics that a recipe may name: which way is better, and what each of them needs.

`creche.evaluation.metric_values` computes them.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from creche.contract.cells import spell_text
from creche.recipe.base import RecipeSection

MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "brier_score",
    "roc_auc",
    "average_precision",
    "expected_cost",
    "quadratic_kappa",
]
# The decision that needs no class weights.
MOST_LIKELY: Literal["most-likely"] = "most-likely"


@dataclass(frozen=True)
class MetricDefinition:
    """What is known of a metric before it is computed.

    Attributes:
        title: as text names it.
        direction: whether the largest ("max") or the smallest ("min") value is the best.
        needs: the key of the recipe without which it is not defined, if there is one.
        is_share: whether it is a number from 0 to 1.
    """

    title: str
    direction: Literal["max", "min"] = "max"
    needs: Literal["cost", "order"] | None = None
    is_share: bool = True


METRICS: dict[MetricName, MetricDefinition] = {
    "accuracy": MetricDefinition("accuracy"),
    "balanced_accuracy": MetricDefinition("balanced accuracy"),
    "macro_f1": MetricDefinition("macro F1"),
    "log_loss": MetricDefinition("log loss", "min", is_share=False),
    "brier_score": MetricDefinition("Brier score", "min", is_share=False),
    "roc_auc": MetricDefinition("ROC AUC"),
    "average_precision": MetricDefinition("average precision"),
    "expected_cost": MetricDefinition("expected cost", "min", "cost", is_share=False),
    "quadratic_kappa": MetricDefinition("quadratic kappa", needs="order", is_share=False),
}


def _class_name(key: Any) -> Any:
    """Return a key as the name of a class: YAML makes a number of `1`, a truth value of `yes`."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return spell_text(str(key))
    return spell_text(key) if isinstance(key, str) else key


ClassName = Annotated[str, BeforeValidator(_class_name)]
# Actual class → predicted class → cost of one such row, in any unit.
CostMatrix = dict[ClassName, dict[ClassName, float]]


class OptimizedDecision(RecipeSection):
    """Class weights that are best for a metric of the validation rows; state one of both keys."""

    # The metric to make as large as they can.
    maximize: Literal["macro_f1", "balanced_accuracy"] | None = None
    # `cost`: the mean cost of a row, by the matrix under `cost`.
    minimize: Literal["cost"] | None = None

    @property
    def metric(self) -> MetricName:
        """The metric that is optimized."""
        return self.maximize or "expected_cost"


def _stated_decision(value: Any) -> Any:
    """Return what a recipe states, if it is one of the allowed forms."""
    if value == MOST_LIKELY or isinstance(value, OptimizedDecision):
        return value
    if isinstance(value, dict):
        # A key without a value, as JSON has it, is not stated.
        stated = [key for key, metric in value.items() if metric is not None]
        if stated in (["maximize"], ["minimize"]):
            return value
    shown = f"is {value!r}: " if isinstance(value, dict) else ""
    raise ValueError(
        f"{shown}use {MOST_LIKELY}, {{maximize: macro_f1}}, {{maximize: balanced_accuracy}} or "
        "{minimize: cost}"
    )


DecisionRule = Annotated[
    Literal["most-likely"] | OptimizedDecision, BeforeValidator(_stated_decision)
]
