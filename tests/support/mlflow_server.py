"""An MLflow server over a PostgreSQL of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import free_port


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own; its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    binaries, data = found[-1].parent, folder / "data"
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        for part in (folder, *folder.parents[:3]):
            part.chmod(0o755)
        shutil.chown(folder, "postgres")
    subprocess.run(
        [*user, binaries / "initdb", "-D", data, "-A", "trust", "-U", "creche"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = [
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
    ]
    server = subprocess.Popen(
        [*user, binaries / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL
    )
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql+psycopg2://creche@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], capture_output=True
        )
        server.wait(30)


class MlflowServer:
    """An MLflow server that can be stopped and started."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder, self.port = store, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--artifacts-destination",
                   str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"]  # fmt: skip
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.log = (self.folder / "server.log").open("a")
        self.process = subprocess.Popen(
            command, env=env, stdout=self.log, stderr=self.log, start_new_session=True
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
