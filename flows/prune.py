"""The prune flow: what nobody needs any more, deleted."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from creche import registry
from creche.operations.issues import readable_size
from creche.pipeline.retention import delete_stale_files, prunable_versions
from creche.project import ProjectPaths


@flow(name="prune", flow_run_name="all recipes · keep {keep}")
def prune(keep: int = 20, days: int = 90) -> State[Any]:
    """Delete versions that nobody needs, of every recipe; then what runs left that nothing leans
    on.

    Args:
        keep: of the latest versions of each recipe.
        days: after which a run's folder and a checkpoint go. A folder stays that a version, the
            last verdict of a recipe, or a
            run at work leans on, and so do the pixels that its tables name.
    """
    paths, say = ProjectPaths.find(), get_run_logger().info
    gone = 0
    for path in (
        sorted((paths.root / "recipes").glob("*.yaml")) if registry.store_exists(paths) else ()
    ):
        for version in prunable_versions(path.stem, keep, paths):
            registry.delete_version(version, paths)
            say("%s version %s deleted", path.stem, version.version)
            gone += 1
    cleared = delete_stale_files(days, paths)
    for path, size in cleared:
        say("%s deleted, %s", path, readable_size(size))
    files = f"{len(cleared)} folders and files, {readable_size(sum(size for _, size in cleared))}"
    return Completed(message=f"{gone} versions deleted; {files}")
