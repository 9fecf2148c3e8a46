"""Where the Prefect and the MLflow server respond."""

import socket
from contextlib import suppress

from creche import settings
from creche.errors import CrecheError
from creche.operations import service_state
from creche.project import ProjectPaths
from creche.records import ServiceAddresses

PREFECT_PORT = 4200
MLFLOW_PORT = 5000


def find_addresses(paths: ProjectPaths) -> ServiceAddresses:
    """Return where the servers are, or will be.

    A server that the environment names (`PREFECT_API_URL`, `MLFLOW_TRACKING_URI`) is used as it
    is. Another one gets a free port, the one of last time if that is free: call
    `orphans.stop_orphans` first, so that no server of last time still holds it.

    Raises:
        CrecheError: no port is free.
    """
    last_prefect_port = None
    last_mlflow_port = None
    last = service_state.last_state(paths)
    if last is not None and last.addresses is not None:
        last_prefect_port = last.addresses.prefect_port
        last_mlflow_port = last.addresses.mlflow_port

    prefect_port = None
    prefect_url = settings.prefect_api_url()
    if not prefect_url:
        prefect_port = _free_port(last_prefect_port or PREFECT_PORT)
        prefect_url = f"http://127.0.0.1:{prefect_port}/api"

    mlflow_port = None
    mlflow_url = settings.tracking_uri() or ""
    if not mlflow_url.startswith("http"):
        mlflow_port = _free_port(last_mlflow_port or MLFLOW_PORT)
        mlflow_url = f"http://127.0.0.1:{mlflow_port}"

    return ServiceAddresses(
        prefect_port=prefect_port,
        mlflow_port=mlflow_port,
        prefect_url=prefect_url,
        ui_url=prefect_url.removesuffix("/api"),
        mlflow_url=mlflow_url,
    )


def _free_port(preferred: int) -> int:
    """Return the preferred port if it is free, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise CrecheError("no port is free on 127.0.0.1: stop a process that listens there")
