"""MLflow's own client on the store, and its errors in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from creche.errors import NotInStoreError, StoreError, shortened
from creche.project import ProjectPaths
from creche.registry import sqlite_reader
from creche.registry.store import check_not_lost, store_location

if TYPE_CHECKING:
    from mlflow import MlflowClient

MESSAGE_LENGTH = 200  # characters of MLflow's own message that ours quotes
# Error codes of MLflow where what was asked for is not there.
NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST",)
# A read by a number or an id that no version or run can have; of a write it is another mistake.
NOT_FOUND_BY_READ = (*NOT_FOUND, "INVALID_PARAMETER_VALUE")


def open_client(paths: ProjectPaths) -> "MlflowClient":
    """Return MLflow's client on the project's store.

    Raises:
        CrecheError: the home cannot be created.
        RegistryError: the store is gone, or its file is no database.
    """
    paths.create_home()
    location = store_location(paths)
    check_not_lost(paths)
    if location.sqlite_file is not None:
        # MLflow's own message about a file that is no database is a page long.
        sqlite_reader.check(location.sqlite_file)
    _configure()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=location.client_uri, registry_uri=location.client_uri)


def _configure() -> None:
    """Set the variables that MLflow reads when it is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@contextmanager
def mlflow_client(paths: ProjectPaths, *, for_reading: bool = False) -> Iterator["MlflowClient"]:
    """Yield MLflow's client, and turn its errors into one sentence.

    Args:
        paths: of the project.
        for_reading: the block only reads, so that an id that MLflow refuses is not in the store.

    Raises:
        NotInStoreError: the store has no such model, version or run.
        StoreError: the store is locked, read-only, or away for longer than the client waits.
    """
    _configure()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield open_client(paths)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        uri = store_location(paths).uri
        message = shortened(str(error), MESSAGE_LENGTH)
        not_found = NOT_FOUND_BY_READ if for_reading else NOT_FOUND
        if getattr(error, "error_code", "") in not_found:
            raise NotInStoreError(f"{uri} responds: {message}") from None
        raise StoreError(
            f"{uri} cannot be used ({message}): run the command again; `creche doctor` shows "
            "whether a change was interrupted"
        ) from None
