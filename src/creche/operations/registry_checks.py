"""Checks of `creche doctor` on the registry: champions, files of runs, and runs without an end."""

from collections.abc import Callable, Iterator
from functools import partial

from creche import registry
from creche.operations.issues import FIX, Issue
from creche.operations.processes import is_alive
from creche.project import ProjectPaths, recipe_names
from creche.registry import artifact_locations, promotion_log
from creche.registry.renaming import champions_without_recipe


def champions(paths: ProjectPaths) -> Iterator[Issue]:
    """Find champions without a recipe, and aliases that differ from the promotion log."""
    if not registry.store_exists(paths):
        return
    for name in champions_without_recipe(paths):
        message = f"{name} has a champion, and recipes/{name}.yaml is not there"
        yield Issue("champions", message, f"creche rename {name} NEW")
    for recipe in recipe_names(paths.root):
        issue = promotion_log.inspect(recipe, paths)
        if issue is None:
            continue
        fix = partial(_reconcile, recipe, paths) if issue.repairable else None
        yield Issue("champions", issue.message, issue.remedy, fix)


def _reconcile(recipe: str, paths: ProjectPaths) -> None:
    promotion_log.reconcile(recipe, paths)


def artifacts(paths: ProjectPaths) -> Iterator[Issue]:
    """Find files of runs that the store looks for where the project was before it was moved."""
    for moved in artifact_locations.find_moved(paths):
        message = (
            f"MLflow looks for the files of runs in {moved.recorded}, and they are in "
            f"{moved.actual}: the project was moved or copied"
        )
        fix = partial(artifact_locations.relocate, [moved], paths)
        yield Issue("artifacts", message, FIX, fix)


def unfinished_run_issues(
    paths: ProjectPaths, flow_run_end: Callable[[str], str | None]
) -> Iterator[Issue]:
    """Find runs that MLflow shows as running, and that are not.

    Args:
        paths: of the project.
        flow_run_end: returns the final state of a flow run; None where it has not ended or is
            unknown.
    """
    for dead in registry.dead_runs(paths, is_alive, flow_run_end):
        message = f"{dead.run.name} of {dead.run.recipe} is RUNNING in MLflow, and {dead.reason}"
        yield Issue("mlflow", message, FIX, partial(registry.mark_killed, dead.run, paths))
