"""Ports, waiting, and real servers on loopback for as long as a `with` lasts."""

import fcntl
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import fsspec
import pytest

Result = TypeVar("Result")

FIRST_PORT = 20_000  # below the range from which the kernel takes ports for clients
PORTS_PER_WORKER = 4_000
POLL_SECONDS = 0.1


def free_port() -> int:
    """Return a port on which nothing listens, from a range of this pytest worker's own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
    first = FIRST_PORT + worker % 3 * PORTS_PER_WORKER
    for port in random.SystemRandom().sample(range(first, first + PORTS_PER_WORKER), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free from {first} on")


def wait_until(
    condition: Callable[[], Result], seconds: float = 60, message: str = "condition"
) -> Result:
    """Poll until the condition is true and return its value; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{message} was not true within {seconds:g} s; last value: {value!r}")
        time.sleep(POLL_SECONDS)


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def responds(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def process(*command: str, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in the background and kill it at the end."""
    started = subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def s3_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the folders in `folder` as buckets, and point the environment there."""
    port = free_port()
    rclone = Path(sys.executable).with_name("rclone")
    address = f"127.0.0.1:{port}"
    serve = [str(rclone), "serve", "s3", "--auth-key", "AKID,SECRET", "--addr", address]
    environment = {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    # Instances of earlier servers are cached by protocol.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with process(*serve, str(folder)):
        wait_until(lambda: accepts_connections(port), 20, "the S3 server accepts connections")
        yield


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """Run a Prefect server, and give the environment that points at it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": url,
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: responds(f"{url}/ready") or server.poll() is not None,
                120,
                "the Prefect server is ready",
            )
            if server.poll() is not None:
                raise RuntimeError((home / "server.log").read_text())
            yield {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def starting_services() -> Iterator[None]:
    """Let one pytest worker at a time start services.

    `creche up` takes the default ports where they are free. Two that start at the same moment find
    the same ports free, and the later one is refused with the advice to start it again.
    """
    with (Path(tempfile.gettempdir()) / "creche-tests-services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
