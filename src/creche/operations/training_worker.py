"""The worker's side of a training in another pool: prepare the same data, train, hand over."""

import platform
import time
from dataclasses import dataclass

from creche import provenance, registry
from creche.errors import AbandonedError, PoolError
from creche.operations import artifacts
from creche.operations.flow_runs import final_state
from creche.operations.prefect_run import STEP_TASKS
from creche.operations.remote_training import returned_files
from creche.pipeline.progress import total_rows, training_progress
from creche.project import (
    PREPROCESSOR,
    REMOTE_TRAINING_RESULT,
    ProjectPaths,
    RunPaths,
    write_record,
)
from creche.recipe import Recipe, load
from creche.records import RemoteTrainingResult, SourceInfo, SplitReport, TrainingReport

POLL_SECONDS = 10.0  # between checks of whether the parent run still waits


@dataclass(frozen=True)
class TrainingRequest:
    """What a run asks another pool to train.

    Attributes:
        recipe: its name.
        recipe_digest: as the parent run has it; with another one here the training is refused.
        data_version: the same.
        code_version: the same.
        run_id: of the parent run.
        mlflow_run_id: of the parent run.
        parent_flow_run_id: of the parent run; when that run ends, the training does too.
        device: auto, cpu, cuda or mps.
        processes: how many share each batch; None: as the recipe says.
    """

    recipe: str
    recipe_digest: str
    data_version: str
    code_version: str
    run_id: str
    mlflow_run_id: str
    parent_flow_run_id: str | None
    device: str
    processes: int | None


def train_for_run(request: TrainingRequest, project: ProjectPaths) -> TrainingReport:
    """Run the steps up to the training, and hand weights and metrics over through MLflow.

    Raises:
        PoolError: recipe, code or data here are not those of the run.
        AbandonedError: the run has ended meanwhile.
    """
    paths = project.run(f"{request.run_id}-train")
    recipe = load(request.recipe, project.root)
    _check_same("recipe", recipe.digest, request.recipe_digest)
    _check_same("code", provenance.code_version(), request.code_version)
    tracked_run = registry.TrackedRun.attach(recipe.name, request.mlflow_run_id, paths)
    split = _prepare_data(recipe, paths, request.data_version)
    total = total_rows(recipe, split)
    show_rows = artifacts.create_training_progress(recipe.name, total)
    parent = _ParentRun(request.parent_flow_run_id)

    def on_rows(rows: int) -> None:
        parent.check()
        show_rows(rows)

    with training_progress(tracked_run, total, on_rows) as on_progress:
        report: TrainingReport = STEP_TASKS["train"](
            "train",
            recipe,
            paths,
            device=request.device,
            processes=request.processes,
            on_progress=on_progress,
        )
    result = RemoteTrainingResult(
        report=report,
        preprocessor_md5=provenance.md5_of(paths / PREPROCESSOR),
        host=platform.node(),
    )
    write_record(paths / REMOTE_TRAINING_RESULT, result)
    tracked_run.upload_training_files(paths / name for name in returned_files(recipe))
    return report


def _prepare_data(recipe: Recipe, paths: RunPaths, data_version: str) -> SplitReport:
    source: SourceInfo = STEP_TASKS["pull"]("pull", recipe, paths)
    _check_same("data", source.data_version, data_version)
    STEP_TASKS["validate"]("validate", recipe, paths)
    split: SplitReport = STEP_TASKS["preprocess"]("preprocess", recipe, paths)
    return split


def _check_same(what: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise PoolError(
            f"the {what} here is {actual[:12]}, the run asks for {expected[:12]}: bring both "
            "machines to the same commit"
        )


class _ParentRun:
    """The run that asked for the training.

    A training whose parent was killed would be for nobody, and occupy the device.
    """

    def __init__(self, flow_run_id: str | None) -> None:
        self.flow_run_id = flow_run_id
        self.checked = 0.0  # monotonic, seconds

    def check(self) -> None:
        """Ask the server, at most every `POLL_SECONDS`.

        Raises:
            AbandonedError: the parent run has ended.
        """
        now = time.monotonic()
        if self.flow_run_id is None or now - self.checked < POLL_SECONDS:
            return
        self.checked = now
        state = final_state(self.flow_run_id)
        if state:
            raise AbandonedError(f"the run that asked for this training has ended: {state}")
