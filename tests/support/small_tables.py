"""A small table of shops, and the recipe that is trained on it in a second."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from creche.pipeline import run_step
from creche.project import MODEL, ProjectPaths, RunPaths
from creche.recipe import Recipe, load

COLUMNS = {
    "grade": {"kind": "category", "values": ["bad", "good"]},
    "city": {"kind": "category", "values": ["Bonn", "Köln"]},
    "size_m2": {"kind": "number", "min": 0, "max": 1000},
}
FEATURES = {"size_m2": "standardize", "city": "one-hot"}


def shops(count: int = 120, seed: int = 0) -> pa.Table:
    """Return shops: the larger ones are good."""
    random = np.random.default_rng(seed)
    sizes = np.round(random.uniform(0, 1000, count), 1)
    cities = random.choice(["Bonn", "Köln"], count)
    grades = np.where(sizes > 500, "good", "bad")
    return pa.table({"grade": grades, "city": cities, "size_m2": sizes})


def write_recipe(root: Path, data: dict[str, Any], **sections: Any) -> Recipe:
    """Write `recipes/shops.yaml` with this section `data`, and return the recipe."""
    content = {
        "description": "Whether a shop is good",
        "data": data,
        "columns": COLUMNS,
        "label": "grade",
        "features": FEATURES,
        "training": {"epochs": 2, "learning_rate": 0.01},
        "gate": {"accuracy": 0, "recall": 0},
    } | sections
    path = root / "recipes" / "shops.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return load("shops", root)


def run_steps(root: Path, recipe: Recipe, last: str = "export") -> RunPaths:
    """Run the steps up to `last` in `root/run`, and return the paths of the run."""
    paths = ProjectPaths(root, root / "var").at(root / "run")
    for step in ("pull", "validate", "preprocess", "train", "export"):
        run_step(step, recipe, paths)
        if step == last:
            break
    return paths


def model_file(paths: RunPaths) -> Path:
    """Return the model file that a run has exported."""
    return paths / MODEL
