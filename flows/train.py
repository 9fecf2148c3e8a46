"""The train flow: the training step alone, as a worker of any pool does it.

Handed over by name (docs/operations.md): the recipe's name and digest, the data version and the
code version. The worker pulls
the data itself, and gives weights and figures back through the MLflow run that the asking run has
begun.
"""

import platform
import time
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from creche import provenance, registry
from creche.errors import CrecheError, DeviceError, PoolError, TrainingError
from creche.operations.flow_runs import final_state
from creche.operations.pools import REFUSED, pool_of
from creche.project import PREPROCESSOR, TRAINING_REPORT, ProjectPaths, write_json
from creche.recipe import load
from flows.retrain import HANDED_OVER, TASKS, following

ASK_SECONDS = 10.0  # between looks whether anybody still waits for this training


class AbandonedError(TrainingError):
    """The run that asked for the training has ended."""


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given['recipe']} · data {given['data_version'][:8]} · for {given['run']}"


@flow(name="train", flow_run_name=_run_name)
def train(
    recipe: str,
    digest: str,
    data_version: str,
    code: str,
    run: str,
    record: str,
    parent: str | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> State[Any]:
    """Train the recipe on the data version named, and hand the weights over through MLflow.

    Args:
        digest, code: of the recipe and of creche, as the asking run has them; another one here is
            refused.
        run, record: the asking run's name and its MLflow run.
        parent: the asking run's id in Prefect; when that ends, this one does.

    Final states: Completed; Refused (this machine has no such device, or other code, recipe or
        data), Failed; Cancelled.
    """
    project = ProjectPaths.find()
    paths = project.run(f"{run}-train")
    try:
        loaded = load(recipe, project.root)
        _same("recipe", loaded.digest, digest)
        _same("code", provenance.code_version(), code)
        joined = registry.TrackedRun.attach(loaded.name, record, paths)
        source: Any = TASKS["pull"]("pull", loaded, paths)
        _same("data", source.version, data_version)
        TASKS["validate"]("validate", loaded, paths)
        split = TASKS["preprocess"]("preprocess", loaded, paths)
        wanted = _Wanted(parent)
        with following(joined, loaded, split) as tell:

            def follow(rows: int, figures: dict[str, float], epoch: dict[str, Any] | None) -> None:
                wanted.look()
                tell(rows, figures, epoch)

            result = TASKS["train"](
                "train", loaded, paths, device=device, workers=workers, follow=follow
            )
        write_json(
            paths / TRAINING_REPORT,
            {
                **result,
                "transform": provenance.md5_of(paths / PREPROCESSOR),
                "host": platform.node(),
            },
        )
        joined.upload_training_files(paths / name for name in HANDED_OVER)
    except AbandonedError as error:
        return Cancelled(message=str(error))
    except CrecheError as error:
        where = f"{platform.node()}, pool {pool_of(flow_run.id) or 'none'}"
        return Failed(
            name=REFUSED if isinstance(error, DeviceError | PoolError) else "Failed",
            message=f"{where}: {error}",
        )
    get_run_logger().info("trained: %s", result)
    return Completed(message=f"{result['epochs']} epochs on {result['device']}, handed over")


def _same(what: str, here: str, asked: str) -> None:
    if here != asked:
        raise PoolError(
            f"the {what} here is {here[:12]}, the run asks for {asked[:12]}: bring both machines "
            "to the same commit"
        )


class _Wanted:
    """Whether anybody still waits: a run whose asker was killed would train for nobody, and hold
    the device.
    """

    def __init__(self, parent: str | None) -> None:
        self.parent, self.asked = parent, 0.0

    def look(self) -> None:
        if self.parent and time.monotonic() - self.asked > ASK_SECONDS:
            self.asked = time.monotonic()
            if state := final_state(self.parent):
                raise AbandonedError(f"the run that asked for this training has ended: {state}")
