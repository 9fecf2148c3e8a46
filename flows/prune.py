"""The prune flow: what nobody needs any more, deleted."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from creche import registry
from creche.places import Places
from creche.review import clear, superfluous
from creche.upkeep import readable


@flow(name="prune", flow_run_name="all recipes · keep {keep}")
def prune(keep: int = 20, days: int = 90) -> State[Any]:
    """Delete versions that nobody needs, of every recipe; then what runs left that nothing leans on.

    Args:
        keep: of the latest versions of each recipe.
        days: after which a run's folder and a checkpoint go. A folder stays that a version, the last verdict of a recipe, or a
            run at work leans on, and so do the pixels that its tables name.
    """
    places, say = Places.find(), get_run_logger().info
    gone = 0
    for path in sorted((places.root / "recipes").glob("*.yaml")) if registry.registered(places) else ():
        for version in superfluous(path.stem, keep, places):
            registry.remove(version, places)
            say("%s version %s deleted", path.stem, version.version)
            gone += 1
    cleared = clear(days, places)
    for path, size in cleared:
        say("%s deleted, %s", path, readable(size))
    files = f"{len(cleared)} folders and files, {readable(sum(size for _, size in cleared))}"
    return Completed(message=f"{gone} versions deleted; {files}")
