"""The retrain flow: the whole pipeline as one Prefect run, a task for each step."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from creche.api.project import Device, Project
from creche.operations.prefect_run import PrefectRun
from creche.pipeline.runner import MANUAL, TIME_FORMAT
from creche.project import ProjectPaths, recipe_name

COMPLETED_STATES = ("Promoted", "Inconclusive", "Unchanged")


def _run_name() -> str:
    parameters = flow_run.parameters
    recipe = recipe_name(parameters["recipe"])
    return f"{recipe} · {parameters['trigger']} · {datetime.now(UTC):{TIME_FORMAT}}"


@flow(name="retrain", flow_run_name=_run_name)
def retrain(
    recipe: str,
    data: str | None = None,
    force: bool = False,
    device: Device = "auto",
    processes: int | None = None,
    trigger: str = MANUAL,
    run_id: str | None = None,
    pool: str | None = None,
) -> State[Any]:
    """Train a challenger, judge it, and promote it if it is better.

    Args:
        recipe: a name in `recipes/`, or a path.
        data: a file to read in place of the recipe's source.
        force: train although nothing has changed since the last verdict.
        device: auto, cpu, cuda or mps.
        processes: how many share each batch; None: as the recipe says.
        trigger: what started the run, for its record.
        run_id: by default a new one.
        pool: where to train, in place of the recipe's pool. A run that no worker started trains in
            its own process unless a pool is given.

    The run's own record is `run.json` in its folder under `CRECHE_HOME`. Final states: Promoted,
    Inconclusive, Unchanged (completed); Rejected, Quarantined, Failed (failed).
    """
    project = Project()
    loaded = project.recipe(recipe)
    run_id = run_id or ProjectPaths.new_run_id(loaded.name)
    prefect_run = PrefectRun(loaded, project.paths.run(run_id), pool)
    record = project.retrain(
        loaded,
        data=data,
        force=force,
        device=device,
        processes=processes,
        trigger=trigger,
        run_id=run_id,
        execute=prefect_run.execute,
        observer=prefect_run,
    )
    state = Completed if record.state in COMPLETED_STATES else Failed
    return state(name=record.state, message=record.message)
