"""A table with columns of every kind, from the file to a model and its predictions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.observations import score_paths

from creche.model.artifact import Model
from creche.pipeline import run_step
from creche.project import MODEL, ProjectPaths
from creche.recipe import Recipe, load
from creche.scoring.single_row import predict

RECIPE = """
description: a test
data: {{path: data/shop.csv, md5: {md5}}}
columns:
  color: {{kind: category, values: [Red, Dark Blue], normalize: [case, spaces]}}
  member: {{kind: boolean, true_values: [yes, ja], false_values: [no, nein]}}
  price: {{kind: number, thousands: ",", symbols: ["$"]}}
  share: {{kind: number, symbols: ["%"]}}
  rings: {{kind: bins, edges: [8, 11]}}
  returned: {{kind: boolean}}
label: {label}
features: {{color: one-hot, member: ordinal, price: standardize, share: standardize}}
split: {{holdout: {{member: ja}}}}
training: {{epochs: 2}}
gate: {{behavior: [{{name: t, change: {{member: nein}}, where: {{color: RED}}, expect: same}}]}}
"""


@dataclass(frozen=True)
class TrainedTable:
    """A recipe, and the model that its steps have made."""

    recipe: Recipe
    model: Model
    data: Path


def write_table(path: Path, rows: int = 240) -> None:
    random = np.random.default_rng(0)
    colors = random.choice(["Red", "RED", " red", "Dark  Blue", "dark blue"], rows)
    members = random.choice(["yes", "No", "JA", "nein", "True"], rows)
    lines = ["color,member,price,share,rings,returned"]
    for row in range(rows):
        rings = random.integers(5, 15)
        price = f'"${1000 + 7 * row:,}"'
        returned = random.choice(["Y", "N"])
        lines.append(f"{colors[row]},{members[row]},{price},{row % 90} %,{rings},{returned}")
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def train(root: Path, label: str) -> TrainedTable:
    """Run the steps of a recipe that predicts a column of the table."""
    data = root / "data/shop.csv"
    write_table(data)
    md5 = hashlib.md5(data.read_bytes()).hexdigest()
    path = root / "recipes/shop.yaml"
    path.parent.mkdir()
    path.write_text(RECIPE.format(md5=md5, label=label))
    recipe = load("shop", root)
    paths = ProjectPaths.find(root).at(root / "run")
    for step in ("pull", "validate", "preprocess", "train", "export"):
        run_step(step, recipe, paths)
    return TrainedTable(recipe, Model(paths / MODEL), data)


@pytest.mark.parametrize(
    ("label", "classes"),
    [("rings", ("below 8", "8 to below 11", "11 or more")), ("returned", ("false", "true"))],
)
def test_label_of_bins_or_boolean_is_trained_and_compared_with_known_labels(
    tmp_path: Path, label: str, classes: tuple[str, ...]
) -> None:
    trained = train(tmp_path, label)
    assert trained.model.classes == classes
    assert trained.model.verify() == []
    assert trained.recipe.split.designated_holdout == ("member", "true")
    assert trained.recipe.gate.behavior[0].change == {"member": "false"}
    assert trained.recipe.gate.behavior[0].where == {"color": "Red"}
    manifest = score_paths([trained.data], trained.model, tmp_path / "out", output_format="csv")
    assert (manifest.scored, manifest.quarantined) == (240, 0)
    assert manifest.known_labels is not None
    assert manifest.known_labels.rows == 240
    cells = {"color": "RED", "member": "Nein", "price": "$1,234", "share": "12 %"}
    of_canonical = {"color": "Red", "member": "false", "price": "1234", "share": "12"}
    assert predict(trained.model, cells) == predict(trained.model, of_canonical)
