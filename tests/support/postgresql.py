"""A PostgreSQL server of its own, on a port of its own."""

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from support.processes import free_port, wait_until

START_SECONDS = 60
BINARIES = "/usr/lib/postgresql/*/bin/postgres"  # where Debian puts each version


def is_installed() -> bool:
    return bool(_binaries())


class Postgresql:
    """A database server that can be killed, started again and removed.

    PostgreSQL refuses to run as root, so for root it runs as the user `postgres`. That user cannot
    enter pytest's temporary folders, which are private to the user who runs the tests: the data
    get a folder of their own in the system's temporary folder.
    """

    def __init__(self) -> None:
        self.binaries = Path(_binaries()[-1]).parent
        self.folder = Path(tempfile.mkdtemp(prefix="creche-postgresql-", dir="/tmp"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.user: list[str] = []
        if os.geteuid() == 0:
            self.user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "creche")

    def url(self, driver: str) -> str:
        """The address for SQLAlchemy, with `psycopg2` or `asyncpg` as the driver."""
        return f"postgresql+{driver}://creche@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = [
            *("-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1"),
            *("-c", f"unix_socket_directories={self.folder}"),
        ]
        command = [*self.user, str(self.binaries / "postgres"), "-D", str(self.data), *options]
        self.server = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._is_ready, START_SECONDS, "PostgreSQL accepts connections")

    def kill(self) -> None:
        """Kill every process of the server with SIGKILL."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "postgres" and Path(process.cwd()) == self.data:
                    process.kill()
        self.server.wait()

    def remove(self) -> None:
        """Stop the server at once and delete its data."""
        with suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")
        self.server.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        command = [self.binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self.user, str(self.binaries / program), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        if result.returncode:
            raise RuntimeError(f"{program} failed: {result.stdout}{result.stderr}")


def _binaries() -> list[str]:
    return sorted(str(path) for path in Path("/").glob(BINARIES.lstrip("/")))
