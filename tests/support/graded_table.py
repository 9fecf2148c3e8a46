"""A small project around a table that a test writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from creche.project import ProjectPaths, RunPaths
from creche.provenance import md5_of
from creche.recipe import Recipe, load

# Two classes that a number tells apart, in sites that are the groups.
GRADED_RECIPE: dict[str, Any] = {
    "description": "tells good from bad",
    "columns": {
        "site": {"kind": "text"},
        "grade": {"kind": "category", "values": ["good", "bad"]},
        "weight": {"kind": "number", "min": 0},
        "height": {"kind": "number"},
    },
    "label": "grade",
    "features": {"weight": "standardize", "height": "standardize"},
    "group": ["site"],
    "training": {"epochs": 3, "learning_rate": 0.05},
    "gate": {"accuracy": 0.5, "recall": 0.2},
}


def graded_lines(sites: int = 30) -> list[str]:
    """Return the lines of a CSV table of four rows a site."""
    lines = ["site,grade,weight,height"]
    for site in range(sites):
        for row in range(4):
            is_good = (site + row) % 2
            lines.append(f"s{site},{'good' if is_good else 'bad'},{100 * is_good + site},{row}")
    return lines


def graded_project(
    root: Path, changes: Mapping[str, Any] | None = None, lines: list[str] | None = None
) -> tuple[Recipe, RunPaths]:
    """Write a table and the recipe `small` in a folder.

    Args:
        changes: sections of the recipe in place of those of `GRADED_RECIPE`.
        lines: of the table, in place of those of `graded_lines`.

    Returns:
        The recipe, and the paths of a run.
    """
    (root / "recipes").mkdir(exist_ok=True)
    table = root / "table.csv"
    table.write_text("\n".join(lines or graded_lines()) + "\n", encoding="utf-8")
    data = {"path": "table.csv", "md5": md5_of(table)}
    content = {**GRADED_RECIPE, "data": data, **(changes or {})}
    (root / "recipes/small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return load("small", root), ProjectPaths.find(root).at(root / "run")
