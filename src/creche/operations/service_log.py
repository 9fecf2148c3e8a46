"""The one log of `creche up`: its own lines, and those of all servers and workers."""

import threading
import time
from pathlib import Path
from typing import IO, Protocol

MAX_BYTES = 20_000_000  # of the log; then it becomes `log.before`, and the one before that goes


class Log(Protocol):
    """Writes a line under the name of its source."""

    def __call__(self, source: str, line: str) -> None: ...


class ServiceLog:
    """Writes lines with their time and source to a file and to standard output."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file: IO[str] | None = None
        # The output of each process is relayed by a thread of its own.
        self._lock = threading.Lock()

    def __call__(self, source: str, line: str) -> None:
        """Write one line."""
        with self._lock:
            file = self._open()
            # A name that is not UTF-8 must not keep the services from logging it.
            text = line.rstrip().encode("utf-8", "backslashreplace").decode()
            entry = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {source:<12}{text}"
            file.write(entry + "\n")
            print(entry, flush=True)

    def close(self) -> None:
        """Close the file; another line opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[str]:
        if self._file is not None and self._file.tell() > self._max_bytes:
            self._close()
            self._path.replace(self._path.with_name(f"{self._path.name}.before"))
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
        return self._file


def is_from(line: str, *sources: str) -> bool:
    """Return whether a line of the log comes from one of the sources."""
    return any(f"  {source} " in line for source in sources)
