"""Real servers on loopback, for as long as a `with` lasts."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def process(*command: str, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
    run = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield run
    finally:
        run.kill()
        run.wait()


@contextmanager
def s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folders in `folder` as buckets, and the environment that points there."""
    port = free_port()
    rclone = Path(sys.executable).with_name("rclone")
    serve = [
        str(rclone),
        "serve",
        "s3",
        "--auth-key",
        "AKID,SECRET",
        "--addr",
        f"127.0.0.1:{port}",
        str(folder),
    ]
    for key, value in {
        "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of the servers before
    with process(*serve):
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
