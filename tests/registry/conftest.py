"""Stores for the tests of the registry."""

from collections.abc import Iterator

import pytest
from support.mlflow_server import MlflowServer
from support.postgresql import Postgresql, is_installed


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    if not is_installed():
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    database = Postgresql()
    try:
        database.start()
        server = MlflowServer(database.url("psycopg2"), tmp_path_factory.mktemp("mlflow"))
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        database.remove()


@pytest.fixture
def server(postgresql_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    """An MLflow server over PostgreSQL, which is the project's store; shared by the tests of a
    session.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgresql_server.url)
    return postgresql_server
