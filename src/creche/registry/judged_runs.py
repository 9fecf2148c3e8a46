"""The runs in MLflow that finished with a verdict."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from creche.project import ProjectPaths
from creche.registry.client import mlflow_client
from creche.registry.client_reader import search_judged_runs
from creche.registry.reader import RUN_ID_TAG, from_milliseconds, store_reader
from creche.registry.versions import list_versions

if TYPE_CHECKING:
    from mlflow.entities import Run

ROWS_TAG = "rows"  # of a run: rows of its table
NEWEST_TAG = "newest"  # of a run: newest date of the column whose age is checked


@dataclass(frozen=True)
class JudgedRun:
    """A run that finished with a verdict."""

    mlflow_run_id: str
    run_id: str
    verdict: str
    fingerprint: str  # of data, recipe, code and libraries
    rows: int | None = None  # of the table; None: not on record
    newest: str | None = None  # newest date of the column whose age is checked, ISO, UTC


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
        rows=int(tags[ROWS_TAG]) if ROWS_TAG in tags else None,
        newest=tags.get(NEWEST_TAG),
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
    version: int | None  # None: it was deleted


def recorded_verdicts(recipe: str, paths: ProjectPaths, limit: int = 1000) -> list[RecordedVerdict]:
    """Return the latest runs that finished with a verdict, latest first."""
    versions = {stored.mlflow_run_id: stored.version for stored in list_versions(paths, recipe)}
    verdicts = []
    with mlflow_client(paths) as client:
        for run in search_judged_runs(client, recipe, limit):
            if "holdout_accuracy" in run.data.metrics:
                verdicts.append(_recorded_verdict(run, versions.get(run.info.run_id)))
    return verdicts


def _recorded_verdict(run: "Run", version: int | None) -> RecordedVerdict:
    metrics = run.data.metrics
    tags = run.data.tags
    return RecordedVerdict(
        time=from_milliseconds(run.info.end_time),
        run_id=tags.get(RUN_ID_TAG, ""),
        data_version=tags.get("data_version", ""),
        verdict=tags.get("verdict", ""),
        accuracy=metrics["holdout_accuracy"],
        accuracy_low=metrics["holdout_accuracy_low"],
        accuracy_high=metrics["holdout_accuracy_high"],
        version=version,
    )
