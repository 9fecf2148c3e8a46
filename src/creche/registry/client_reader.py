"""Read a tracking server through MLflow's client."""

from typing import TYPE_CHECKING, Any

from creche.errors import NotInStoreError
from creche.project import ProjectPaths
from creche.registry.client import mlflow_client
from creche.registry.reader import CHAMPION, StoredRun, StoredVersion, from_milliseconds

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE_SIZE = 1000  # results of one request


class ClientReader:
    """The reads of a store by MLflow's client."""

    def __init__(self, paths: ProjectPaths) -> None:
        self.paths = paths

    def version_tags(self, name: str, number: str) -> dict[str, str] | None:
        try:
            with mlflow_client(self.paths, for_reading=True) as client:
                return dict(client.get_model_version(name, number).tags)
        except NotInStoreError:
            return None

    def versions(self, name: str | None = None) -> list[StoredVersion]:
        with mlflow_client(self.paths, for_reading=True) as client:
            entities = search_versions(client, name)
        versions = [_stored_version(entity) for entity in entities]
        return sorted(versions, key=lambda stored: (stored.name, stored.version))

    def champion_version(self, name: str) -> str | None:
        try:
            with mlflow_client(self.paths, for_reading=True) as client:
                version = client.get_registered_model(name).aliases.get(CHAMPION)
        except NotInStoreError:
            return None
        return None if version is None else str(version)

    def last_judged_run(self, recipe: str) -> StoredRun | None:
        with mlflow_client(self.paths, for_reading=True) as client:
            runs = search_judged_runs(client, recipe, 1)
        return _stored_run(recipe, runs[0]) if runs else None

    def running_runs(self) -> list[StoredRun]:
        with mlflow_client(self.paths, for_reading=True) as client:
            recipes = {}
            for experiment in client.search_experiments():
                recipes[experiment.experiment_id] = experiment.name
            runs = client.search_runs(list(recipes), "attributes.status = 'RUNNING'")
        return [_stored_run(recipes[run.info.experiment_id], run) for run in runs]


def search_versions(client: "MlflowClient", name: str | None) -> list[Any]:
    """Return MLflow's own entities of all versions of a registered model, or of all models."""
    filter_string = f"name = '{name}'" if name else None
    versions: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(filter_string, max_results=PAGE_SIZE, page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def search_judged_runs(client: "MlflowClient", recipe: str, limit: int) -> list[Any]:
    """Return MLflow's own entities of the latest runs that finished with a verdict, latest
    first.
    """
    experiment = client.get_experiment_by_name(recipe)
    if experiment is None:
        return []
    filter_string = "attributes.status = 'FINISHED' and tags.verdict != ''"
    return list(client.search_runs([experiment.experiment_id], filter_string, max_results=limit))


def _stored_version(version: Any) -> StoredVersion:
    return StoredVersion(
        name=version.name,
        version=int(version.version),
        mlflow_run_id=version.run_id,
        created=from_milliseconds(version.creation_timestamp),
        tags=dict(version.tags),
    )


def _stored_run(recipe: str, run: Any) -> StoredRun:
    info = run.info
    return StoredRun(
        recipe=recipe,
        mlflow_run_id=info.run_id,
        name=info.run_name,
        started=info.start_time / 1000,
        tags=dict(run.data.tags),
    )
