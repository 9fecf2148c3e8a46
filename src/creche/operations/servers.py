"""The servers and workers that `creche up` runs, as managed processes."""

import platform
import signal
import sys
import time
import urllib.request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from creche import registry
from creche.errors import CrecheError
from creche.operations import service_state
from creche.operations.managed_process import ManagedProcess
from creche.operations.processes import listening_ports
from creche.operations.service_settings import ServiceSettings
from creche.operations.supervisor import Supervisor
from creche.project import ProjectPaths
from creche.records import ServiceAddresses

START_SECONDS = 180  # for a server: its first start creates its tables
POLL_SECONDS = 0.3
RESPONSE_SECONDS = 5  # that a server may take to respond
SECONDS_PER_DAY = 86_400
# For processes that wait for a server that is away; the supervisor itself does not.
CLIENT_RETRIES = {"PREFECT_CLIENT_MAX_RETRIES": "8"}
WORKER_ENV = {
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
    **CLIENT_RETRIES,
}
UNAUTHORIZED = (401, 403)


def responds(url: str) -> bool:
    """Return whether a server responds; one that asks for a password does."""
    try:
        with urllib.request.urlopen(url, timeout=RESPONSE_SECONDS) as response:  # noqa: S310
            return bool(response.status == 200)
    except HTTPError as error:
        return error.code in UNAUTHORIZED
    except OSError:
        return False


def prefect_responds(addresses: ServiceAddresses) -> bool:
    """Return whether the Prefect server responds and reaches its database."""
    return responds(f"{addresses.prefect_url}/ready")


def mlflow_responds(addresses: ServiceAddresses) -> bool:
    """Return whether the MLflow server responds."""
    return responds(f"{addresses.mlflow_url}/health")


def prefect_server(port: int, url: str, keep_days: int) -> ManagedProcess:
    """Return the Prefect server.

    Args:
        port: on 127.0.0.1.
        url: of its API, as the pages of its UI call it.
        keep_days: after which it deletes ended runs and their logs.
    """
    env = {
        **CLIENT_RETRIES,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": url,
        # In memory the leases would be lost with a killed server, and their slots taken forever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(keep_days * SECONDS_PER_DAY),
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    return ManagedProcess("prefect", command, env)


def mlflow_server(port: int, paths: ProjectPaths) -> ManagedProcess:
    """Return the MLflow server on the project's store."""
    artifacts = (paths.home / "artifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--backend-store-uri", registry.store_location(paths).uri]
    command += ["--artifacts-destination", artifacts]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Otherwise it starts seven idle processes, 1.7 GB.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return ManagedProcess("mlflow", command, env)


def worker_name(pool: str) -> str:
    """Return under which name the worker of this machine is known in a pool."""
    return f"{platform.node()}-{pool}"


def worker_process_name(pool: str) -> str:
    """Return the name of a worker's managed process."""
    return f"worker-{pool}"


def worker(pool: str) -> ManagedProcess:
    """Return the worker of this machine for a pool."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    command += ["--type", "process", "--install-policy", "never", "--name", worker_name(pool)]
    # A worker that gets SIGTERM kills its runs; a killed one leaves them running.
    return ManagedProcess(worker_process_name(pool), command, WORKER_ENV, signal.SIGKILL)


def start_servers(
    supervisor: Supervisor, addresses: ServiceAddresses, settings: ServiceSettings
) -> None:
    """Start the servers that run on this machine, and wait until all respond.

    Raises:
        CrecheError: a server ended, did not respond in time, or lost its port to another process.
    """
    if addresses.prefect_port is not None:
        supervisor.start(
            prefect_server(addresses.prefect_port, addresses.prefect_url, settings.keep_days)
        )
    if addresses.mlflow_port is not None:
        supervisor.start(mlflow_server(addresses.mlflow_port, supervisor.paths))
    _wait_until_ready(supervisor, f"{addresses.prefect_url}/ready", "prefect")
    if addresses.mlflow_port is not None:
        _wait_until_ready(supervisor, f"{addresses.mlflow_url}/health", "mlflow")


def _wait_until_ready(supervisor: Supervisor, url: str, name: str) -> None:
    process = supervisor.processes.get(name)
    log = service_state.log_file(supervisor.paths)
    deadline = time.monotonic() + START_SECONDS
    while not responds(url):
        if process is not None and process.exit_code is not None:
            raise CrecheError(f"the {name} server ended while it started: read {log}")
        if time.monotonic() > deadline:
            raise CrecheError(f"{url} does not respond after {START_SECONDS} s: read {log}")
        time.sleep(POLL_SECONDS)
    if process is None or process.process is None:
        return
    # Two projects may start at the same time and choose the same free port.
    port = urlsplit(url).port
    if port not in listening_ports(process.process.pid):
        raise CrecheError(
            f"another process took port {port} while the {name} server started: "
            "run `creche up` again"
        )
