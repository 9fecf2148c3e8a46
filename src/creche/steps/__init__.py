"""The verbs, in the order in which a run speaks them.

Each module has a pure function of its own name, and `run(recipe, places, …)`: the same from files to files.
`READS` and `WRITES` name those files; dvc.yaml is held to them by a test.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creche.places import Places
    from creche.recipe import Recipe

STEPS = ("pull", "validate", "preprocess", "train", "export", "evaluate", "judge", "promote")


def run_step(name: str, recipe: "Recipe", places: "Places", **options: Any) -> dict[str, Any]:
    """Run one step; its module, and what that stands on, is imported only now."""
    result: dict[str, Any] = import_module(f"creche.steps.{name}").run(recipe, places, **options)
    return result
