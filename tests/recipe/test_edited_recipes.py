"""However a recipe is edited, loading it either succeeds or ends with a RecipeError."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.new_recipes import init
from support.projects import ROOT

from creche.errors import RecipeError
from creche.recipe import load

# A recipe that uses the sections that init and the recipes of this project leave out.
EVERY_SECTION = """
description: whether an order is returned
data: {path: orders.csv, csv: {encoding: latin-1, separator: "|"}}
columns:
  age: {kind: number, min: 0, max: 120, missing: allow, unit: m, units: {cm: 100}}
  city: {kind: category, missing: allow, unseen: other}
  grade: {kind: category, values: [low, mid, high], ordered: true}
  price: {kind: number, thousands: ",", symbols: ["$"]}
  color: {kind: category, values: [Red, Blue], normalize: [case, spaces]}
  member: {kind: boolean, true_values: [yes], false_values: [no]}
  born: {kind: date, formats: ["%d.%m.%Y"], time_zone: Europe/Berlin, earliest: 1990-01-01}
  rings: {kind: bins, edges: [8, 11]}
  country: {kind: text}
label: rings
features:
  age: robust
  city: {one_hot: {min_rows: 10, max_values: 100}}
  grade: thermometer
  price: standardize
  color: {embedding: {width: 8, min_rows: 5}}
  member: one-hot
  born: {date_parts: [year, month, elapsed]}
group: [country]
unique: [country, born]
split: {time: born, period: month, holdout_periods: 1, validation_periods: 1, seed: 0}
rules:
  - age >= 3
  - {check: "color == Red", when: "member == true", reason: members buy red}
table:
  rows: {min: 1000, max_drop: 0.5}
  fresh: {column: born, days: 30}
  reference: {country: {file: refs/countries.csv, column: code}}
training: {class_weights: balanced, epochs: 3}
decision: {maximize: macro_f1}
gate: {primary: macro_f1, metrics: {macro_f1: 0.7, log_loss: 0.5}, precision: 0.5}
"""
PROJECT_RECIPES = ("penguins", "cifar10", "penguins-lab")
SCALARS: list[Any] = [
    *(None, True, False, 0, -1, 3, 1.5, float("nan"), float("inf"), 10**400),
    *("", "x", "*", "a*", "yes", "1990-01-01", "%Q", "a.b", "no.module:Class", "(", "age >"),
    *("\x00", "é", "1e999", "../x", "mlp", "cnn", "one-hot", "born", "species", "rings"),
]
VALUES: list[Any] = [
    *([], [[]], [None], ["a", "a"], [1, 2], {}, {"": 1}, {"a": {"b": [1]}}, [{"check": 1}]),
    *({"minimize": "cost"}, {"one_hot": None}, {"embedding": {}}, {"date_parts": ["x"]}),
    *({"kind": kind} for kind in ("number", "boolean", "date", "image", "bins", "text")),
    *SCALARS,
]
EDITS = ("delete", "replace", "replace", "rename", "duplicate", "move")


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all keys and entries below a node."""
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    paths: list[tuple[Any, ...]] = []
    for key, child in children:
        paths += [(*path, key), *places(child, (*path, key))]
    return paths


def value_at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def edit(recipe: dict[str, Any], data: st.DataObject) -> None:
    """Change one key or entry of a recipe, whatever that makes of it."""
    all_places = places(recipe)
    if not all_places:
        return
    path = data.draw(st.sampled_from(all_places))
    key = path[-1]
    parent = value_at(recipe, path[:-1])
    operation = data.draw(st.sampled_from(EDITS))
    if operation == "delete":
        del parent[key]
    elif operation == "replace":
        parent[key] = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
    elif operation == "move":
        other = data.draw(st.sampled_from(all_places))
        parent[key] = copy.deepcopy(value_at(recipe, other))
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif operation == "rename":
        new_name = data.draw(st.sampled_from([*SCALARS, *(place[-1] for place in all_places)]))
        parent[new_name] = parent.pop(key)
    else:
        parent[f"{key}2"] = copy.deepcopy(parent[key])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def recipes(root: Path) -> list[dict[str, Any]]:
    rows = range(60)
    columns = {
        "weight": [row * 7 % 11 + row % 2 for row in rows],
        "color": [("red", "blue", "green")[row % 3] for row in rows],
        "born": [f"20{row % 20 + 10}-01-{row % 28 + 1:02}" for row in rows],
        "label": [("cat", "dog")[row % 2] for row in rows],
    }
    texts = [init(root, columns).text, EVERY_SECTION]
    for name in PROJECT_RECIPES:
        texts.append((ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8"))
    return [yaml.safe_load(text) for text in texts]


def check_edited_recipe(root: Path, recipes: list[dict[str, Any]], data: st.DataObject) -> None:
    recipe = copy.deepcopy(data.draw(st.sampled_from(recipes)))
    for _ in range(data.draw(st.integers(1, 3))):
        edit(recipe, data)
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    (root / "recipes/edited.yaml").write_text(text, encoding="utf-8")
    try:
        load("edited", root)
    except RecipeError as error:
        message = str(error)
        assert "edited.yaml" in message
        assert "\n" not in message


def test_recipe_with_every_section_is_loaded(root: Path, recipes: list[dict[str, Any]]) -> None:
    (root / "recipes/whole.yaml").write_text(EVERY_SECTION, encoding="utf-8")
    assert load("whole", root).classes == ("below 8", "8 to below 11", "11 or more")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_edited_recipe_is_loaded_or_refused(
    root: Path, recipes: list[dict[str, Any]], data: st.DataObject
) -> None:
    check_edited_recipe(root, recipes, data)


@pytest.mark.slow
@settings(
    max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_edited_recipe_is_loaded_or_refused_at_length(
    root: Path, recipes: list[dict[str, Any]], data: st.DataObject
) -> None:
    check_edited_recipe(root, recipes, data)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("columns", "age", {"kind": "number", "x": 1}, "columns.age.x: unknown key: remove it, or"),
        ("network", "batch_norm", "x", "network.batch_norm: is 'x': it must be true or false"),
        ("data", "md5", "x", "data.md5: is 'x': it must be an md5: 32 digits of 0-9 and a-f"),
        ("data", "path", " ", "data: path is empty: name a file or folder"),
        ("split", "holdout", {}, "split.holdout: is a mapping of keys: it must be a number, or"),
    ],
)
def test_refusal_is_in_plain_words(
    root: Path, section: str, key: str, value: Any, message: str
) -> None:
    recipe = yaml.safe_load(EVERY_SECTION)
    recipe.setdefault(section, {})[key] = value
    text = yaml.safe_dump(recipe, sort_keys=False)
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/plain.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load("plain", root)
    assert message in str(raised.value)
    assert "pydantic" not in str(raised.value)
    assert "validation" not in str(raised.value)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ([10**9], "network.hidden.0: is 1000000000: it must be at most 65536"),
        ([60_000, 60_000], "network: hidden has 3,600,000,000 parameters between its layers"),
    ],
)
def test_network_that_no_model_file_can_hold_is_refused(
    root: Path, hidden: list[int], message: str
) -> None:
    recipe = yaml.safe_load(EVERY_SECTION)
    recipe["network"] = {"hidden": hidden}
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/large.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        load("large", root)


def test_empty_recipe_is_refused_with_the_command_that_writes_one(root: Path) -> None:
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/empty.yaml").write_text("", encoding="utf-8")
    with pytest.raises(RecipeError, match="this file is empty: write one with `creche init"):
        load("empty", root)


def test_keys_of_a_section_are_listed_once(root: Path) -> None:
    recipe = yaml.safe_load(EVERY_SECTION)
    recipe["training"] |= {"xx": 1, "yy": 2, "zz": 3}
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/unknown.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load("unknown", root)
    assert str(raised.value).count("use one of") == 1
    assert "training.zz: unknown key: remove it" in str(raised.value)
