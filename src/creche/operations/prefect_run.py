"""A run of the pipeline on Prefect: a task for each step, and pages for the operator."""

from collections.abc import Callable
from typing import Any, cast

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from creche.errors import DeviceError, PoolError
from creche.operations import artifacts, notifications, pools
from creche.operations.remote_training import RemoteTraining
from creche.pipeline.runner import RunObserver, StepExecutor
from creche.pipeline.steps import RETRIED_STEPS, RETRY_DELAYS, STEPS, is_transient, run_step
from creche.project import RunPaths
from creche.recipe import Recipe
from creche.records import RunRecord, TrainingReport
from creche.registry import FLOW_RUN_ID_TAG, TrackedRun


class PrefectRun(RunObserver):
    """Executes the steps of one flow run as tasks, and shows the run in the Prefect UI.

    Args:
        pool: where to train, in place of the recipe's pool. A run that no worker started trains
            in its own process unless a pool is given.
    """

    def __init__(self, recipe: Recipe, paths: RunPaths, pool: str | None) -> None:
        self.recipe = recipe
        self.paths = paths
        self.pool = pool
        self.remote_training: RemoteTraining | None = None

    def execute(self, name: str, recipe: Recipe, paths: RunPaths, **options: Any) -> Any:
        """Run a step as a task; the train step in another pool where the run says so."""
        if name == "train" and self.remote_training is not None:
            options["remote_training"] = self.remote_training
        return STEP_TASKS[name](name, recipe, paths, **options)

    def on_identified(self, record: RunRecord) -> None:
        artifacts.label_run(record)

    def on_tracked(self, record: RunRecord, tracked_run: TrackedRun) -> None:
        tracked_run.set_tag(FLOW_RUN_ID_TAG, str(flow_run.id))
        own_pool = pools.pool_of(flow_run.id)
        pool = self.pool
        if pool is None and own_pool is not None:
            pool = self.recipe.training.pool
        if pool is None or pool == own_pool:
            return
        assert record.source is not None
        self.remote_training = RemoteTraining(
            pool, tracked_run, record.source, flow_run.id, get_run_logger().info
        )

    def on_step_start(self, name: str) -> None:
        get_run_logger().info("step %s started", name)

    def on_step_end(self, name: str, seconds: float) -> None:
        get_run_logger().info("step %s finished after %g s", name, seconds)

    def on_validated(self, record: RunRecord) -> None:
        assert record.validation is not None
        artifacts.show_validation(self.recipe, record.validation)

    def on_training(self, total: int) -> Callable[[int], None]:
        return artifacts.create_training_progress(self.recipe.name, total)

    def on_reused_training(self, training: TrainingReport) -> None:
        get_run_logger().info(
            "step train not needed: network, training and rows are those of run %s",
            training.reused_from,
        )

    def on_warning(self, message: str) -> None:
        get_run_logger().warning("%s", message)

    def on_end(self, record: RunRecord) -> None:
        get_run_logger().info("%s: %s", record.state, record.message)
        artifacts.show_run(self.recipe, self.paths, record)
        notifications.emit_events(self.recipe, record)


def _run_step(name: str, recipe: Recipe, paths: RunPaths, **options: Any) -> Any:
    remote_training = options.pop("remote_training", None)
    if remote_training is None:
        return run_step(name, recipe, paths, **options)
    return _train_remotely(remote_training, recipe, paths, **options)


def _train_remotely(
    remote_training: RemoteTraining,
    recipe: Recipe,
    paths: RunPaths,
    device: str,
    processes: int | None,
    on_progress: Any,
) -> TrainingReport:
    """Train in another pool; where that is not possible, here on the CPU if the recipe says so."""
    try:
        return remote_training.train(recipe, paths, device, processes)
    except (PoolError, DeviceError) as error:
        if recipe.training.fallback != "cpu":
            raise
        get_run_logger().warning(
            "%s; training here on the CPU, as the recipe says (training.fallback)", error
        )
        reason = f"instead of in pool {remote_training.pool}: {error}"
        report: TrainingReport = run_step(
            "train", recipe, paths, device="cpu", processes=processes, on_progress=on_progress
        )
        return report.model_copy(update={"fallback_reason": reason})


def _should_retry(_task: Any, _run: Any, state: State[Any]) -> bool:
    try:
        state.result()
    except Exception as error:
        return is_transient(error)
    return False


def _step_task(name: str) -> StepExecutor:
    step_task = task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        retry_condition_fn=_should_retry,
        retries=len(RETRY_DELAYS) if name in RETRIED_STEPS else 0,
        retry_delay_seconds=list(RETRY_DELAYS),
    )(_run_step)
    return cast(StepExecutor, step_task)


STEP_TASKS = {name: _step_task(name) for name in STEPS}
