"""The train step in another work pool.

It is handed over by name, not by shared disk: recipe, data version and code version. The worker
pulls the data itself, and gives weights and metrics back through the run's MLflow run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from creche import provenance
from creche.errors import PoolError, TrainingError
from creche.operations import pools
from creche.project import (
    CURVES,
    HISTORY,
    OUT_OF_FOLD,
    PREPROCESSOR,
    REMOTE_TRAINING_RESULT,
    WEIGHTS,
    RunPaths,
    read_record,
)
from creche.recipe import Recipe
from creche.records import RemoteTrainingResult, SourceInfo, TrainingReport
from creche.registry import TrackedRun


def returned_files(recipe: Recipe) -> tuple[str, ...]:
    """Return the files that the worker of the other pool returns."""
    files = (WEIGHTS, HISTORY, CURVES, REMOTE_TRAINING_RESULT)
    return files if recipe.split.folds is None else (*files, OUT_OF_FOLD)


@dataclass(frozen=True)
class RemoteTraining:
    """A training by a worker of another pool.

    Attributes:
        parent_flow_run_id: of this run; when that ends, the training does too.
        log: is given one line at a time.
    """

    pool: str
    tracked_run: TrackedRun
    source: SourceInfo
    parent_flow_run_id: str | None
    log: Callable[[str], None]

    def train(
        self, recipe: Recipe, paths: RunPaths, device: str, processes: int | None
    ) -> TrainingReport:
        """Wait for the training, and fetch its files.

        Raises:
            PoolError: no worker started it in time, or the worker refused.
            TrainingError: it failed, or the worker prepared the data in another way.
        """
        parameters = self._parameters(recipe, paths)
        if device != "auto":
            parameters["device"] = device
        if processes is not None:
            parameters["processes"] = processes
        flow_run = pools.run_in_pool(
            f"train/{self.pool}", parameters, recipe.training.start_timeout_seconds, self.log
        )
        state = flow_run.state
        if state is None or not state.is_completed():
            name = state.name if state else "unknown"
            reason = state.message if state else ""
            message = f"the training in pool {self.pool} ended {name}: {reason}"
            if name == pools.REFUSED_STATE:
                raise PoolError(message)
            raise TrainingError(message)
        self.tracked_run.download_training_files(returned_files(recipe), paths.folder)
        result = read_record(paths / REMOTE_TRAINING_RESULT, RemoteTrainingResult)
        if result.preprocessor_md5 != provenance.md5_of(paths / PREPROCESSOR):
            raise TrainingError(
                f"the worker {result.host} fitted another preprocessor to the same data: "
                "compare versions there"
            )
        return result.report.model_copy(update={"pool": self.pool})

    def _parameters(self, recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
        return {
            "recipe": recipe.name,
            "recipe_digest": recipe.digest,
            "data_version": self.source.data_version,
            "code_version": provenance.code_version(),
            "run_id": paths.folder.name,
            "mlflow_run_id": self.tracked_run.mlflow_run_id,
            "parent_flow_run_id": self.parent_flow_run_id,
        }
