"""The verbs, in the order in which a run speaks them.

Each module has a pure function of its own name, and `run(recipe, paths, …)`: the same from files to
files. `INPUTS` and `OUTPUTS` name those files; dvc.yaml is held to them by a test.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from creche.errors import UsageError

if TYPE_CHECKING:
    from creche.project import RunPaths
    from creche.recipe import Recipe

STEPS = ("pull", "validate", "preprocess", "train", "export", "evaluate", "gate", "promote")


def run_step(name: str, recipe: "Recipe", paths: "RunPaths", **options: Any) -> dict[str, Any]:
    """Run one step; its module, and what that stands on, is imported only now.

    Raises:
        UsageError: what the step reads is not there yet.
    """
    step = import_module(f"creche.pipeline.{name}")
    absent = [f for f in step.INPUTS if not (paths / f).is_file()]
    if absent:
        raise UsageError(
            f"{name} reads {paths / absent[0]}, which is not there: run the steps before it ({', '.join(STEPS)})"
        )
    result: dict[str, Any] = step.run(recipe, paths, **options)
    return result
