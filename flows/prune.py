"""The prune flow: delete versions and files that nothing refers to any more."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from creche.api.project import Project
from creche.operations.pruning import prune_project
from creche.project import KEEP_VERSIONS, STALE_DAYS


@flow(name="prune", flow_run_name="all recipes · keep {keep}")
def prune(keep: int = KEEP_VERSIONS, days: int = STALE_DAYS) -> State[Any]:
    """Delete prunable versions of every recipe, then the stale files of runs.

    Args:
        keep: the latest versions of each recipe that stay in any case.
        days: age from which a run's folder and a checkpoint are deleted. A folder stays that a
            version, the last verdict of a recipe, or a run under way refers to, and so do the
            pixels that its tables name.
    """
    report = prune_project(Project(), keep, days, get_run_logger().info)
    return Completed(message=report.summary)
