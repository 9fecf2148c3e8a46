"""The steps in their order, and how one is run.

Each module of `creche.pipeline` that is named after a step has `run(recipe, paths, …)`, which works
from files to files. `INPUTS` and `OUTPUTS` name those files; dvc.yaml is held to them by a test.
"""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from creche.errors import CrecheError, StoreError, UnreachableError, UsageError

if TYPE_CHECKING:
    from creche.project import RunPaths
    from creche.recipe import Recipe

STEPS = ("pull", "validate", "preprocess", "train", "export", "evaluate", "gate", "promote")
RETRIED_STEPS = ("pull", "gate", "promote")  # those that use a remote or a store
RETRY_DELAYS = (2.0, 10.0, 30.0)  # seconds before each further attempt


def run_step(name: str, recipe: "Recipe", paths: "RunPaths", **options: Any) -> Any:
    """Run one step; its module, and what that imports, is imported only now.

    Returns:
        The step's record.

    Raises:
        UsageError: what the step reads is not there yet.
    """
    paths.create_home()
    step = import_module(f"creche.pipeline.{name}")
    for file_name in step.INPUTS:
        if not (paths / file_name).is_file():
            raise UsageError(
                f"{name} reads {paths / file_name}, which is not there: run the steps before it "
                f"({', '.join(STEPS[: STEPS.index(name)])})"
            )
    if name != "pull":
        # What is there may be of data that were pulled before.
        recipe = expanded_recipe(recipe, paths)
    return step.run(recipe, paths, **options)


def expanded_recipe(recipe: "Recipe", paths: "RunPaths") -> "Recipe":
    """Return the recipe with the columns of the pulled data in place of its patterns.

    Before the data are pulled, it is as it is written.

    Raises:
        RecipeError: a pattern matches no column, or the recipe is wrong with these columns.
    """
    from creche.project import SOURCE, read_record
    from creche.recipe import expanded
    from creche.records import SourceInfo

    if not recipe.has_patterns or not (paths / SOURCE).is_file():
        return recipe
    return expanded(recipe, read_record(paths / SOURCE, SourceInfo).header)


def run_step_with_retries(name: str, recipe: "Recipe", paths: "RunPaths", **options: Any) -> Any:
    """Run one step; try again where a remote or a store did not respond."""
    if name in RETRIED_STEPS:
        for delay in RETRY_DELAYS:
            try:
                return run_step(name, recipe, paths, **options)
            except Exception as error:
                if not is_transient(error):
                    raise
                time.sleep(delay)
    return run_step(name, recipe, paths, **options)


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed.

    What creche refuses on purpose will be just as wrong in ten seconds, unless something did not
    respond.
    """
    if isinstance(error, UnreachableError | StoreError):
        return True
    return not isinstance(error, CrecheError)
