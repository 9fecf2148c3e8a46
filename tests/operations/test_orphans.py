"""Addresses of servers, and processes that a killed supervisor has left."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from creche.operations import service_state
from creche.operations.orphans import stop_orphans
from creche.operations.service_addresses import find_addresses
from creche.project import ProjectPaths
from creche.records import ManagedProcessState, ServiceAddresses, ServicesState

PORT = 47_231


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    return ProjectPaths(tmp_path, tmp_path / "var")


@pytest.fixture
def orphan(paths: ProjectPaths) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that the state file names though no supervisor runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    url = f"http://127.0.0.1:{PORT}"
    addresses = ServiceAddresses(
        prefect_port=PORT, mlflow_port=None, prefect_url=f"{url}/api", ui_url=url, mlflow_url=url
    )
    managed = ManagedProcessState(pid=process.pid, started=time.time(), command=[], restarts=0)
    state = ServicesState(addresses=addresses, processes={"prefect": managed})
    service_state.write_state(paths, state)
    yield process
    process.kill()
    process.wait()


def test_finding_addresses_kills_nothing(
    paths: ProjectPaths, orphan: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert find_addresses(paths).prefect_port == PORT
    assert orphan.poll() is None


def test_orphans_are_stopped_before_the_services_start(
    paths: ProjectPaths, orphan: "subprocess.Popen[bytes]"
) -> None:
    stop_orphans(paths)
    assert orphan.poll() is not None


def test_processes_of_running_services_are_not_stopped(
    paths: ProjectPaths, orphan: "subprocess.Popen[bytes]"
) -> None:
    state = service_state.last_state(paths)
    assert state is not None
    with service_state.services_lock(paths):
        service_state.write_state(paths, state)
        stop_orphans(paths)
    assert orphan.poll() is None
