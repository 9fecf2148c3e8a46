"""Production runs in MLflow: parameters, live metrics, files, the verdict, and how they ended."""

import os
import platform
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from creche.errors import NotInStoreError, RegistryError
from creche.project import ProjectPaths, atomic_write
from creche.registry.artifact_locations import ensure_artifacts_are_here
from creche.registry.client import mlflow_client, open_client
from creche.registry.store import store_location

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from creche.records import Verdict

FLUSH_SECONDS = 1.0  # between two calls that send live metrics, at the least
BATCH_METRICS = 1000  # MLflow's limit of one call
# As `holdout_…` in MLflow: the training has an accuracy too.
HOLDOUT_METRICS = ("accuracy", "accuracy_low", "accuracy_high", "log_loss")

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]


class TrackedRun:
    """One production run in MLflow."""

    def __init__(
        self, recipe: str, mlflow_run_id: str, experiment_id: str, paths: ProjectPaths
    ) -> None:
        self.recipe = recipe
        self.mlflow_run_id = mlflow_run_id
        self.experiment_id = experiment_id
        self.paths = paths
        self.client = open_client(paths)
        self._pending: list[Metric] = []
        self._flushed = 0.0  # s since the epoch

    @classmethod
    def start(
        cls,
        recipe: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        paths: ProjectPaths,
    ) -> "TrackedRun":
        """Create a run in the recipe's experiment."""
        ensure_artifacts_are_here(paths)
        # The tag shows later whether the process of the run is still alive.
        all_tags = {**tags, "process": f"{platform.node()}:{os.getpid()}"}
        with mlflow_client(paths) as client:
            experiment_id = _experiment_id(client, recipe, paths)
            created = client.create_run(experiment_id, run_name=name, tags=all_tags)
            mlflow_run_id = created.info.run_id
            for key, value in params.items():
                client.log_param(mlflow_run_id, key, value)
        return cls(recipe, mlflow_run_id, experiment_id, paths)

    @classmethod
    def attach(cls, recipe: str, mlflow_run_id: str, paths: ProjectPaths) -> "TrackedRun":
        """Use a run that another process has started.

        Raises:
            RegistryError: it is not in the store that this process uses.
        """
        try:
            with mlflow_client(paths, for_reading=True) as client:
                experiment_id = client.get_run(mlflow_run_id).info.experiment_id
        except NotInStoreError:
            raise RegistryError(
                f"MLflow run {mlflow_run_id} is not in {store_location(paths).uri}, the store of "
                "this machine: set MLFLOW_TRACKING_URI to the same server on every machine"
            ) from None
        return cls(recipe, mlflow_run_id, experiment_id, paths)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics.

        They are sent to the store at most once a second, and at the latest by `finish`.
        """
        from mlflow.entities import Metric

        now = time.time()
        for key, value in metrics.items():
            self._pending.append(Metric(key, float(value), int(now * 1000), step))
        if now - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        for start in range(0, len(self._pending), BATCH_METRICS):
            batch = self._pending[start : start + BATCH_METRICS]
            self.client.log_batch(self.mlflow_run_id, metrics=batch)
        self._pending = []
        self._flushed = time.time()

    def log_run_folder(self, folder: Path) -> None:
        """Store all files of a run's folder under `run/`."""
        self.client.log_artifacts(self.mlflow_run_id, str(folder), "run")

    def upload_training_files(self, files: Iterable[Path]) -> None:
        """Store files of a training for the process that started the run."""
        for file in files:
            self.client.log_artifact(self.mlflow_run_id, str(file), "training")

    def download_training_files(self, names: Iterable[str], folder: Path) -> None:
        """Fetch what `upload_training_files` stored."""
        for name in names:
            with atomic_write(folder / name) as temporary:
                downloaded = self.client.download_artifacts(self.mlflow_run_id, f"training/{name}")
                shutil.copyfile(downloaded, temporary)

    def log_verdict(self, verdict: "Verdict") -> None:
        """Store a verdict under its id, before anything changes because of it."""
        content = verdict.model_dump(mode="json")
        self.client.log_dict(self.mlflow_run_id, content, f"verdicts/{verdict.id}.json")

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""
        self.client.set_tag(self.mlflow_run_id, key, value)

    def finish(self, status: EndStatus) -> None:
        """Write pending metrics, and the status with which the run ends."""
        self._flush()
        self.client.set_terminated(self.mlflow_run_id, status)


def _experiment_id(client: "MlflowClient", recipe: str, paths: ProjectPaths) -> str:
    """Return the id of the recipe's experiment, which is created where it is missing."""
    experiment = client.get_experiment_by_name(recipe)
    if experiment is not None:
        return str(experiment.experiment_id)
    artifacts = None
    if store_location(paths).sqlite_file is not None:
        artifacts = (paths.home / "artifacts" / recipe).as_uri()
    return str(client.create_experiment(recipe, artifact_location=artifacts))


def download_run_files(mlflow_run_id: str, folder: Path, paths: ProjectPaths) -> Path:
    """Fetch what `log_run_folder` stored; return the folder that holds it."""
    with mlflow_client(paths, for_reading=True) as client:
        return Path(client.download_artifacts(mlflow_run_id, "run", str(folder)))
