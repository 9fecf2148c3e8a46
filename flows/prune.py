"""The prune flow: what nobody needs any more, deleted."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from creche import registry
from creche.places import Places
from creche.review import superfluous


@flow(name="prune", flow_run_name="all recipes · keep {keep}")
def prune(keep: int = 20, days: int = 90) -> State[Any]:
    """Delete versions that nobody needs, of every recipe.

    Args:
        keep: of the latest versions of each recipe.
        days: after which a run's folder goes, where no version and no verdict leans on it.
    """
    places = Places.find()
    gone = 0
    for path in sorted((places.root / "recipes").glob("*.yaml")) if registry.registered(places) else ():
        for version in superfluous(path.stem, keep, places):
            registry.remove(version, places)
            get_run_logger().info("%s version %s deleted", path.stem, version.version)
            gone += 1
    return Completed(message=f"{gone} versions deleted")
