"""Where the embedded store says that files of runs and versions are, after the project was moved.

MLflow keeps absolute addresses in its tables. Those of a project that was moved or copied name the
folder where it was: its files are not found there, and a new run would write into it.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from creche.errors import StoreError
from creche.project import ProjectPaths
from creche.registry.sqlite_reader import connection

STORE_FILE = "mlflow.db"  # in the home
ARTIFACTS = "artifacts"  # in the home: a folder for each recipe
# Table → its columns with addresses.
ADDRESS_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "model_versions": ("source", "storage_location"),
    "logged_models": ("artifact_location",),
}
EXPERIMENT_LOCATIONS = "SELECT artifact_location FROM experiments"
COLUMNS_OF_TABLE = "SELECT name FROM pragma_table_info(?)"


@dataclass(frozen=True)
class MovedArtifacts:
    """The files of all runs, which lie elsewhere than the store says."""

    recorded: str  # address of the folder that the store names
    actual: Path  # where they are


def find_moved(paths: ProjectPaths) -> list[MovedArtifacts]:
    """Return the folders that the project's own store names, and that are those of the home.

    Only the store in the home is looked at: it was moved together with its files.

    Raises:
        RegistryError: it cannot be read.
    """
    actual = paths.home / ARTIFACTS
    recorded = set()
    with connection(paths.home / STORE_FILE) as tables:
        if tables is None:
            return []
        for (location,) in tables.execute(EXPERIMENT_LOCATIONS).fetchall():
            folder, _, name = location.rstrip("/").rpartition("/")
            # A recipe that was renamed keeps the folder of its earlier name.
            is_here = (actual / unquote(name)).is_dir()
            if _is_ours(folder) and is_here and not _is_same_folder(folder, actual):
                recorded.add(folder)
    return [MovedArtifacts(folder, actual) for folder in sorted(recorded)]


def _is_ours(folder: str) -> bool:
    """Whether the address of the folder that holds an experiment's is as creche writes it."""
    return folder.startswith("file://") and folder.endswith(f"/{ARTIFACTS}")


def _is_same_folder(address: str, folder: Path) -> bool:
    recorded = Path(unquote(urlsplit(address).path))
    return recorded == folder or (recorded.is_dir() and recorded.samefile(folder))


def relocate(moved: Iterable[MovedArtifacts], paths: ProjectPaths) -> None:
    """Write the actual address in place of the recorded one, everywhere in one transaction.

    Raises:
        StoreError: another process writes for longer than a minute.
        RegistryError: the store cannot be written.
    """
    with connection(paths.home / STORE_FILE) as tables:
        if tables is None:
            return
        try:
            tables.execute("BEGIN IMMEDIATE")
            for folder in moved:
                _replace(tables, f"{folder.recorded}/", f"{folder.actual.as_uri()}/")
            tables.commit()
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{paths.home / STORE_FILE} cannot be written ({error}): nothing was changed, try "
                "again"
            ) from None


def _replace(tables: sqlite3.Connection, recorded: str, actual: str) -> None:
    """Replace the start of every address that begins with `recorded`."""
    for table, columns in ADDRESS_COLUMNS.items():
        existing = {name for (name,) in tables.execute(COLUMNS_OF_TABLE, (table,))}
        for column in existing.intersection(columns):
            tables.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                f"WHERE substr({column}, 1, ?) = ?",
                (actual, len(recorded) + 1, len(recorded), recorded),
            )


def ensure_artifacts_are_here(paths: ProjectPaths) -> None:
    """Relocate the files of a project that was moved, before anything is written or fetched."""
    moved = find_moved(paths)
    if moved:
        relocate(moved, paths)
