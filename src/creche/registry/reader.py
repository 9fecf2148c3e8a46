"""The reads of MLflow's store, by one of two readers.

The tables of a SQLite file are read directly, which takes milliseconds and no import of mlflow
(about 2 s): every `predict`, `models`, `history` and `status` begins with such a read. A tracking
server is read through MLflow's client. A test holds the two to the same results.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from creche.project import ProjectPaths
from creche.registry.store import check_not_lost, store_location

CHAMPION = "champion"  # the alias
# Tags of MLflow's runs and versions.
RUN_ID_TAG = "run"  # id of creche's run, which is the name of its folder
FLOW_RUN_ID_TAG = "flow_run"  # id of the run in Prefect
MLFLOW_RUN_ID_TAG = "run_id"  # of a version: the MLflow run that has its files


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the time (UTC) that MLflow states in milliseconds since the epoch."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@dataclass(frozen=True)
class StoredVersion:
    """A version of a registered model."""

    name: str
    version: int
    mlflow_run_id: str | None
    created: datetime  # UTC, by the store's clock
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StoredRun:
    """A run of an experiment, which is named after its recipe."""

    recipe: str
    mlflow_run_id: str
    name: str
    started: float  # s since the epoch
    tags: Mapping[str, str]


class StoreReader(Protocol):
    """The reads of MLflow's store."""

    def version_tags(self, name: str, number: str) -> dict[str, str] | None:
        """Return the tags of one version; None: there is no such version."""

    def versions(self, name: str | None = None) -> list[StoredVersion]:
        """Return all versions of a registered model, or of all models, by name and number."""

    def champion_version(self, name: str) -> str | None:
        """Return the number that the alias `champion` is set to; None: it is not set."""

    def last_judged_run(self, recipe: str) -> StoredRun | None:
        """Return the latest run of the recipe that finished with a verdict."""

    def running_runs(self) -> list[StoredRun]:
        """Return the runs of all recipes that have no end on record, latest first."""


def store_reader(paths: ProjectPaths) -> StoreReader:
    """Return the reader for the project's store.

    Raises:
        RegistryError: the store is gone, though models were registered in it.
    """
    check_not_lost(paths)
    file = store_location(paths).sqlite_file
    if file is not None:
        from creche.registry.sqlite_reader import SqliteReader

        return SqliteReader(file)
    from creche.registry.client_reader import ClientReader

    return ClientReader(paths)
