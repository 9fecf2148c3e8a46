"""Production runs in MLflow: parameters, live metrics, files, the verdict, and how they ended."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from creche.errors import RegistryError
from creche.project import ProjectPaths, atomic_write
from creche.registry.client import NotInStoreError, client, store_errors
from creche.registry.client_reader import search_judged_runs
from creche.registry.reader import FLOW_RUN_ID_TAG, RUN_ID_TAG, StoredRun, store_reader
from creche.registry.store import store_exists, store_location
from creche.registry.versions import list_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from creche.records import Verdict

FLUSH_SECONDS = 1.0  # live metrics reach the store at least this often
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
        self.client = client(paths)
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
        # The tag shows later whether the process of the run is still alive.
        all_tags = {**tags, "process": f"{platform.node()}:{os.getpid()}"}
        with store_errors(paths) as mlflow:
            experiment_id = _experiment_id(mlflow, recipe, paths)
            created = mlflow.create_run(experiment_id, run_name=name, tags=all_tags)
            mlflow_run_id = created.info.run_id
            for key, value in params.items():
                mlflow.log_param(mlflow_run_id, key, value)
        return cls(recipe, mlflow_run_id, experiment_id, paths)

    @classmethod
    def attach(cls, recipe: str, mlflow_run_id: str, paths: ProjectPaths) -> "TrackedRun":
        """Use a run that another process has started.

        Raises:
            RegistryError: it is not in the store that this process uses.
        """
        try:
            with store_errors(paths) as mlflow:
                experiment_id = mlflow.get_run(mlflow_run_id).info.experiment_id
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


def _experiment_id(mlflow: "MlflowClient", recipe: str, paths: ProjectPaths) -> str:
    """Return the id of the recipe's experiment, which is created where it is missing."""
    experiment = mlflow.get_experiment_by_name(recipe)
    if experiment is not None:
        return str(experiment.experiment_id)
    artifacts = None
    if store_location(paths).sqlite_file is not None:
        artifacts = (paths.home / "artifacts" / recipe).as_uri()
    return str(mlflow.create_experiment(recipe, artifact_location=artifacts))


@dataclass(frozen=True)
class JudgedRun:
    """A run that finished with a verdict."""

    mlflow_run_id: str
    run_id: str
    verdict: str
    fingerprint: str  # of data, recipe, code and libraries


def last_judged_run(recipe: str, paths: ProjectPaths) -> JudgedRun | None:
    """Return the latest run that finished with a verdict; a failed or killed run never counts."""
    run = store_reader(paths).last_judged_run(recipe)
    if run is None:
        return None
    tags = run.tags
    return JudgedRun(
        mlflow_run_id=run.mlflow_run_id,
        run_id=tags.get(RUN_ID_TAG, ""),
        verdict=tags["verdict"],
        fingerprint=tags.get("fingerprint", ""),
    )


@dataclass(frozen=True)
class RecordedVerdict:
    """The record of one judged run in the store."""

    time: datetime  # UTC
    run_id: str
    data_version: str
    verdict: str
    accuracy: float  # on the holdout, 0..1
    accuracy_low: float  # 95 % interval
    accuracy_high: float
    log_loss: float
    version: int | None  # None: it was deleted


def recorded_verdicts(recipe: str, paths: ProjectPaths, limit: int = 1000) -> list[RecordedVerdict]:
    """Return the latest runs that finished with a verdict, latest first."""
    versions = {stored.mlflow_run_id: stored.version for stored in list_versions(paths, recipe)}
    verdicts = []
    with store_errors(paths) as mlflow:
        for run in search_judged_runs(mlflow, recipe, limit):
            if "holdout_accuracy" in run.data.metrics:
                verdicts.append(_recorded_verdict(run, versions.get(run.info.run_id)))
    return verdicts


def _recorded_verdict(run: "Run", version: int | None) -> RecordedVerdict:
    metrics = run.data.metrics
    tags = run.data.tags
    return RecordedVerdict(
        time=datetime.fromtimestamp(run.info.end_time / 1000, UTC),
        run_id=tags.get(RUN_ID_TAG, ""),
        data_version=tags.get("data_version", ""),
        verdict=tags.get("verdict", ""),
        accuracy=metrics["holdout_accuracy"],
        accuracy_low=metrics["holdout_accuracy_low"],
        accuracy_high=metrics["holdout_accuracy_high"],
        log_loss=metrics["holdout_log_loss"],
        version=version,
    )


def unfinished_runs(paths: ProjectPaths) -> list[StoredRun]:
    """Return the runs of every recipe that have no end on record."""
    return store_reader(paths).running_runs() if store_exists(paths) else []


@dataclass(frozen=True)
class DeadRun:
    """A run that MLflow shows as running, and that is not."""

    run: StoredRun
    reason: str  # as in `… is RUNNING in MLflow, and REASON`


def dead_runs(
    paths: ProjectPaths,
    is_alive: Callable[[int, float], bool],
    flow_run_end: Callable[[str], str | None],
) -> Iterator[DeadRun]:
    """Find the runs that MLflow shows as running though their process or their flow run has ended.

    Args:
        is_alive: whether a process of this machine, by its PID, has been alive since a time in s
            since the epoch.
        flow_run_end: returns the final state of a flow run, by its id in Prefect; None: it has not
            ended, or is unknown.
    """
    for run in unfinished_runs(paths):
        host, _, pid = run.tags.get("process", "").rpartition(":")
        flow_run_id = run.tags.get(FLOW_RUN_ID_TAG)
        state = flow_run_end(flow_run_id) if flow_run_id is not None else None
        if state:
            yield DeadRun(run, f"ended {state}")
        elif host == platform.node() and not is_alive(int(pid), run.started):
            yield DeadRun(run, "its process is gone")


def mark_killed(run: StoredRun, paths: ProjectPaths) -> None:
    """Record that a run has been killed."""
    with store_errors(paths) as mlflow:
        mlflow.set_terminated(run.mlflow_run_id, "KILLED")


def download_run_files(mlflow_run_id: str, folder: Path, paths: ProjectPaths) -> Path:
    """Fetch what `log_run_folder` stored; return the folder that holds it."""
    with store_errors(paths) as mlflow:
        return Path(mlflow.download_artifacts(mlflow_run_id, "run", str(folder)))
