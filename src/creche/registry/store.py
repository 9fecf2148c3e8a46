"""Where MLflow keeps its tables: a SQLite file in the project's home, or a tracking server."""

from dataclasses import dataclass
from pathlib import Path

from creche import settings
from creche.errors import RegistryError
from creche.project import ProjectPaths

SQLITE = "sqlite:///"
LOCK_SECONDS = 60  # that a reader or writer waits for another writer of the SQLite file


@dataclass(frozen=True)
class StoreLocation:
    """The tracking URI, and the SQLite file that it names, if any."""

    uri: str
    sqlite_file: Path | None  # None: a server

    @property
    def client_uri(self) -> str:
        """The URI for MLflow's client, which waits for other writers of a SQLite file."""
        if self.sqlite_file is None or "?" in self.uri:
            return self.uri
        return f"{self.uri}?timeout={LOCK_SECONDS}"

    def exists(self) -> bool:
        """Whether the store exists. Opening a SQLite file that is absent would create it."""
        return self.sqlite_file is None or self.sqlite_file.is_file()


def store_location(paths: ProjectPaths) -> StoreLocation:
    """Return `MLFLOW_TRACKING_URI`, by default a SQLite file in the project's home."""
    uri = settings.tracking_uri() or f"{SQLITE}{paths.home / 'mlflow.db'}"
    if not uri.startswith(SQLITE):
        return StoreLocation(uri, None)
    return StoreLocation(uri, Path(uri.removeprefix(SQLITE).partition("?")[0]))


def store_exists(paths: ProjectPaths) -> bool:
    """Whether the project's store exists."""
    return store_location(paths).exists()


def check_not_lost(paths: ProjectPaths) -> None:
    """Check that a store with registered models is not gone: an empty one would take its place.

    Raises:
        RegistryError: the SQLite file is absent, and files of registered models are present.
    """
    file = store_location(paths).sqlite_file
    if file is None or file.exists():
        return
    if any((paths.home / "models").glob("*.onnx")):
        raise RegistryError(
            f"{file} is gone, though models were registered in it: "
            f"restore it from a backup, or move {paths.home} away too"
        )
