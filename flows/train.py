"""The train flow: the train step alone, as a worker of any pool runs it for a retrain run.

docs/guides/operations.md says how a training is handed over.
"""

import platform
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from creche.errors import AbandonedError, CrecheError, DeviceError, PoolError
from creche.operations.pools import REFUSED_STATE, pool_of
from creche.operations.training_worker import TrainingRequest, train_for_run
from creche.project import ProjectPaths


def _run_name() -> str:
    parameters = flow_run.parameters
    version = parameters["data_version"][:8]
    return f"{parameters['recipe']} · data {version} · for {parameters['run_id']}"


@flow(name="train", flow_run_name=_run_name)
def train(
    recipe: str,
    recipe_digest: str,
    data_version: str,
    code_version: str,
    run_id: str,
    mlflow_run_id: str,
    parent_flow_run_id: str | None = None,
    device: str = "auto",
    processes: int | None = None,
) -> State[Any]:
    """Train the recipe on the named data version, and hand the weights over through MLflow.

    Args:
        recipe: its name.
        recipe_digest: as the parent run has it; the run is refused where this machine has another.
        data_version: the same.
        code_version: the same.
        run_id: of the parent run.
        mlflow_run_id: of the parent run.
        parent_flow_run_id: of the parent run; when that run ends, this one does.
        device: auto, cpu, cuda or mps.
        processes: how many share each batch; None: as the recipe says.

    Final states: Completed; Refused (this machine has no such device, or other code, recipe or
        data), Failed; Cancelled.
    """
    request = TrainingRequest(
        recipe=recipe,
        recipe_digest=recipe_digest,
        data_version=data_version,
        code_version=code_version,
        run_id=run_id,
        mlflow_run_id=mlflow_run_id,
        parent_flow_run_id=parent_flow_run_id,
        device=device,
        processes=processes,
    )
    try:
        report = train_for_run(request, ProjectPaths.find())
    except AbandonedError as error:
        return Cancelled(message=str(error))
    except CrecheError as error:
        host = f"{platform.node()}, pool {pool_of(flow_run.id) or 'none'}"
        is_refusal = isinstance(error, DeviceError | PoolError)
        return Failed(name=REFUSED_STATE if is_refusal else "Failed", message=f"{host}: {error}")
    get_run_logger().info("trained: %s", report.model_dump_json())
    return Completed(message=f"{report.epochs} epochs on {report.device}, handed over")
