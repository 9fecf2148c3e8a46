"""What a recipe says about metrics, costs, class weights and the decision."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.projects import ROOT

from creche.errors import RecipeError
from creche.recipe import Recipe, load

PENGUINS = yaml.safe_load((ROOT / "recipes/penguins.yaml").read_text())
SPECIES = ("Adelie", "Chinstrap", "Gentoo")
COST = {actual: {other: 1 for other in SPECIES if other != actual} for actual in SPECIES}
FORMS = "use most-likely, {maximize: macro_f1}, {maximize: balanced_accuracy} or {minimize: cost}"


def edited(folder: Path, changes: dict[str, Any]) -> Recipe:
    """Return the recipe of the penguins with keys, stated as `gate.metrics`, set to values."""
    content = copy.deepcopy(PENGUINS)
    for path, value in changes.items():
        section = content
        *parents, last = path.split(".")
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = value
    file = folder / "x.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(str(file), folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate.metrics": {"macrof1": 0.5}}, "gate.metrics.macrof1: is 'macrof1': it must be"),
        (
            {"gate.metrics": {"accuracy": 0.5}},
            "gate.metrics.accuracy: the least accuracy has a key of its own: state it as "
            "gate.accuracy",
        ),
        (
            {"gate.metrics": {"macro_f1": 1.5}},
            "gate.metrics.macro_f1: is 1.5, and macro_f1 is from 0 to 1: state such a number",
        ),
        (
            {"gate.metrics": {"expected_cost": 1}},
            "gate.metrics.expected_cost: expected_cost is the mean of the costs under cost, and "
            "this recipe has no such key: add cost: {ACTUAL CLASS: {PREDICTED CLASS: NUMBER}}",
        ),
        (
            {"gate.primary": "quadratic_kappa"},
            "gate.primary: quadratic_kappa is for classes that have an order, and columns.species "
            "states none: add ordered: true there",
        ),
        ({"gate.primary": "f1"}, "gate.primary: is 'f1': it must be 'accuracy', "),
        ({"gate.margin": 1}, "gate.margin: is 1, and accuracy is at most 1: state a margin below"),
        ({"gate.margin": -0.1}, "gate.margin: is -0.1: it must be at least 0"),
        ({"decision": "likely"}, f"decision: is 'likely': {FORMS}"),
        (
            {"decision": {"maximise": "macro_f1"}},
            f"decision: is {{'maximise': 'macro_f1'}}: {FORMS}",
        ),
        ({"decision": {"maximize": "f1"}}, "decision.maximize: is 'f1': it must be 'macro_f1' or"),
        ({"decision": {"minimize": "cost"}}, "decision: expected_cost is the mean of the costs"),
        (
            {
                "decision": {"maximize": "macro_f1"},
                "split.validation": 0,
                "training.checkpoint_selection": "last",
            },
            "decision: its class weights are chosen on the validation rows, and split.validation is 0",
        ),
        ({"cost": {"Adelie": {}}}, "cost.Adelie: lacks Chinstrap: add what it costs to predict"),
        ({"cost": {**COST, "Emperor": {}}}, "cost: 'Emperor' is no class: use Adelie, "),
        (
            {"cost": {**COST, "Adelie": {**COST["Adelie"], "Emperor": 1}}},
            "cost.Adelie: 'Emperor' is no class: use Adelie, Chinstrap, Gentoo, unknown",
        ),
        ({"cost": {k: COST[k] for k in SPECIES[:2]}}, "cost: lacks the class Gentoo: add what"),
        (
            {"training.class_weights": "even"},
            "training.class_weights: is 'even': it must be 'none'",
        ),
        (
            {"training.class_weights": {"Emperor": 2}},
            "training.class_weights: 'Emperor' is no class",
        ),
        (
            {"training.class_weights": {"Adelie": 0}},
            "training.class_weights.Adelie: is 0: state a number above 0",
        ),
    ],
)
def test_mistake_is_one_error_with_the_path_of_its_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        edited(tmp_path, changes)
    assert f"x.yaml: {message}" in str(error.value)
    assert "; " not in str(error.value)


def test_metrics_costs_and_decision_are_read(tmp_path: Path) -> None:
    recipe = edited(
        tmp_path,
        {
            "cost": COST,
            "decision": {"minimize": "cost"},
            "gate.metrics": {"expected_cost": 0.2, "log_loss": 1.5},
            "gate.primary": "log_loss",
            "gate.margin": 2,
            "training.class_weights": "balanced",
        },
    )
    assert recipe.decision.metric == "expected_cost"
    assert recipe.gate.margin == 2
    # A worker of a process group reads the recipe as JSON.
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_classes_that_yaml_reads_as_numbers_are_named_by_them(tmp_path: Path) -> None:
    grades = {"kind": "category", "values": ["0", "1"], "ordered": True}
    recipe = edited(
        tmp_path,
        {
            "columns.grade": grades,
            "label": "grade",
            "cost": {0: {1: 1}, 1: {0: 5, "unknown": 2}},
            "training.class_weights": {1: 3},
            "gate.metrics": {"quadratic_kappa": 0.3},
            "gate.behavior": [],
        },
    )
    assert recipe.cost == {"0": {"1": 1}, "1": {"0": 5, "unknown": 2}}
    assert recipe.training.class_weights == {"1": 3}
