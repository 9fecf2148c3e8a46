"""Stores for the tests of the registry."""

from collections.abc import Iterator

import pytest
from support.mlflow_server import MlflowServer, postgresql


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("postgresql")
    data = folder / "data"
    data.mkdir()
    with postgresql(data) as store:
        server = MlflowServer(store, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def server(postgresql_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    """An MLflow server over PostgreSQL, which is the project's store; shared by the tests of a
    session.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgresql_server.url)
    return postgresql_server
