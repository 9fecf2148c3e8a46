"""A recipe: what is learned from what, in one YAML file that is also a DVC params file."""

from creche.recipe.data import NOT_STATED, DataSpec, Quarantine, Split
from creche.recipe.encodings import Divide, Encoding, Scale
from creche.recipe.gate import SAME_LABEL, BehaviorTest, Change, Gate, LinearPerturbation
from creche.recipe.loader import find, load
from creche.recipe.metric_checks import is_ordered
from creche.recipe.metrics import METRICS, MOST_LIKELY, DecisionRule, MetricDefinition, MetricName
from creche.recipe.network import Convolution, Network
from creche.recipe.patterns import expanded
from creche.recipe.rules import Freshness, Reference, RowCount, RowRuleSpec, TableChecks
from creche.recipe.schema import Recipe
from creche.recipe.training import OPERATIONAL_KEYS, Augment, Training

__all__ = [
    "METRICS",
    "MOST_LIKELY",
    "NOT_STATED",
    "OPERATIONAL_KEYS",
    "SAME_LABEL",
    "Augment",
    "BehaviorTest",
    "Change",
    "Convolution",
    "DataSpec",
    "DecisionRule",
    "Divide",
    "Encoding",
    "Freshness",
    "Gate",
    "LinearPerturbation",
    "MetricDefinition",
    "MetricName",
    "Network",
    "Quarantine",
    "Recipe",
    "Reference",
    "RowCount",
    "RowRuleSpec",
    "Scale",
    "Split",
    "TableChecks",
    "Training",
    "expanded",
    "find",
    "is_ordered",
    "load",
]
