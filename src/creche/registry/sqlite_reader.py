"""Read MLflow's SQLite tables directly, without importing mlflow."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from creche.errors import RegistryError, StoreError
from creche.registry.reader import CHAMPION, StoredRun, StoredVersion, from_milliseconds
from creche.registry.store import LOCK_SECONDS

# Of the tables that this module reads, the one that MLflow's migrations create last.
LAST_TABLE = "registered_model_aliases"
TABLE_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = ?"
VERSION_EXISTS = (
    "SELECT 1 FROM model_versions "
    "WHERE name = ? AND version = ? AND current_stage != 'Deleted_Internal'"
)
VERSION_BY_ALIAS = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
TAGS_OF_VERSION = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
# Of one model, or of all where the name is NULL.
VERSIONS = (
    "SELECT name, version, run_id, creation_time FROM model_versions "
    "WHERE (?1 IS NULL OR name = ?1) AND current_stage != 'Deleted_Internal' ORDER BY name, version"
)
VERSION_TAGS = (
    "SELECT name, version, key, value FROM model_version_tags WHERE ?1 IS NULL OR name = ?1"
)
# Both in the order of MLflow's own search.
LAST_JUDGED_RUN = (
    "SELECT experiments.name, run_uuid, runs.name, start_time FROM runs "
    "JOIN experiments ON experiments.experiment_id = runs.experiment_id "
    "WHERE runs.lifecycle_stage = 'active' AND status = 'FINISHED' AND experiments.name = ? "
    "AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid "
    "AND key = 'verdict' AND value != '') "
    "ORDER BY start_time DESC, run_uuid LIMIT 1"
)
RUNNING_RUNS = (
    "SELECT experiments.name, run_uuid, runs.name, start_time FROM runs "
    "JOIN experiments ON experiments.experiment_id = runs.experiment_id "
    "WHERE runs.lifecycle_stage = 'active' AND status = 'RUNNING' "
    "AND experiments.lifecycle_stage = 'active' ORDER BY start_time DESC, run_uuid"
)
TAGS_OF_RUN = "SELECT key, value FROM tags WHERE run_uuid = ?"
# Errors that may be gone in a while: another process writes, or the disk does not respond.
TRANSIENT = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)


class SqliteReader:
    """The reads of a store in a SQLite file; a file that is absent, or without tables, is empty."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def version_tags(self, name: str, number: str) -> dict[str, str] | None:
        with connection(self.file) as tables:
            if tables is None:
                return None
            tables.execute("BEGIN")
            if tables.execute(VERSION_EXISTS, (name, number)).fetchone() is None:
                return None
            return dict(tables.execute(TAGS_OF_VERSION, (name, number)).fetchall())

    def versions(self, name: str | None = None) -> list[StoredVersion]:
        tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        with connection(self.file) as tables:
            if tables is None:
                return []
            # In one transaction, so that no version comes without its tags.
            tables.execute("BEGIN")
            rows = tables.execute(VERSIONS, (name,)).fetchall()
            for model, number, key, value in tables.execute(VERSION_TAGS, (name,)):
                tags[model, number][key] = value
        versions = []
        for model, number, mlflow_run_id, created in rows:
            stored = StoredVersion(
                model, number, mlflow_run_id, from_milliseconds(created), tags[model, number]
            )
            versions.append(stored)
        return versions

    def champion_version(self, name: str) -> str | None:
        with connection(self.file) as tables:
            if tables is None:
                return None
            row = tables.execute(VERSION_BY_ALIAS, (name, CHAMPION)).fetchone()
        return None if row is None else str(row[0])

    def last_judged_run(self, recipe: str) -> StoredRun | None:
        runs = self._runs(LAST_JUDGED_RUN, (recipe,))
        return runs[0] if runs else None

    def running_runs(self) -> list[StoredRun]:
        return self._runs(RUNNING_RUNS, ())

    def _runs(self, query: str, parameters: tuple[str, ...]) -> list[StoredRun]:
        runs = []
        with connection(self.file) as tables:
            if tables is None:
                return []
            tables.execute("BEGIN")
            rows = tables.execute(query, parameters).fetchall()
            for recipe, mlflow_run_id, name, started in rows:
                tags = tables.execute(TAGS_OF_RUN, (mlflow_run_id,)).fetchall()
                runs.append(StoredRun(recipe, mlflow_run_id, name, started / 1000, dict(tags)))
        return runs


def check(file: Path) -> None:
    """Check that a file can be read as MLflow's store, if it exists.

    Raises:
        RegistryError: it is no database.
    """
    with connection(file):
        pass


@contextmanager
def connection(file: Path) -> Iterator[sqlite3.Connection | None]:
    """Open MLflow's tables; None where they are not created yet.

    Raises:
        StoreError: the file is locked or cannot be opened now.
        RegistryError: it is not MLflow's store.
    """
    if not file.is_file() or not file.stat().st_size:
        yield None
        return
    try:
        # Not `mode=ro`: what a killed writer left incomplete must be rolled back before anything is
        # read.
        uri = f"{file.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS)) as tables:
            has_tables = tables.execute(TABLE_EXISTS, (LAST_TABLE,)).fetchone() is not None
            yield tables if has_tables else None
    except sqlite3.Error as error:
        if _primary_code(error) in TRANSIENT:
            raise StoreError(f"{file} cannot be read now ({error}): try again") from None
        raise RegistryError(
            f"{file} cannot be read as MLflow's store: {error}; restore it from a backup"
        ) from None


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without the detail in its upper bits; -1 where it is unknown."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF
