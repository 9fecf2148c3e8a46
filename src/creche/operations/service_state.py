"""The state file of `creche up`, and the lock that is held while its process is alive.

The supervisor holds the lock for as long as it lives; the kernel releases the lock of a killed
process. So the file counts only while the lock is held.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creche.errors import CrecheError, DataError
from creche.project import ProjectPaths, read_record, write_record
from creche.records import ServicesState


def services_folder(paths: ProjectPaths) -> Path:
    """Return the folder of the state file, the lock and the log."""
    return paths.home / "up"


def log_file(paths: ProjectPaths) -> Path:
    """Return the one log of the services."""
    return services_folder(paths) / "log"


def _state_file(paths: ProjectPaths) -> Path:
    return services_folder(paths) / "state.json"


def _lock_file(paths: ProjectPaths) -> Path:
    return services_folder(paths) / "lock"


def read_state(paths: ProjectPaths) -> ServicesState | None:
    """Return the state of the services that run on this machine.

    Returns:
        None where none run. An empty state where they have just started.
    """
    try:
        with _lock_file(paths).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return last_state(paths) or ServicesState()
    return None


def last_state(paths: ProjectPaths) -> ServicesState | None:
    """Return the state that was written last, whether or not these services still run."""
    try:
        return read_record(_state_file(paths), ServicesState)
    except (FileNotFoundError, DataError):
        return None


def write_state(paths: ProjectPaths, state: ServicesState) -> None:
    """Replace the state file in one step."""
    write_record(_state_file(paths), state)


@contextmanager
def services_lock(paths: ProjectPaths) -> Iterator[None]:
    """Hold the lock of the services; the state of earlier ones is removed.

    Raises:
        CrecheError: another process holds it.
    """
    paths.create_home()
    services_folder(paths).mkdir(parents=True, exist_ok=True)
    with _lock_file(paths).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CrecheError(
                f"services already run in {paths.home}, started by another process: run "
                "`creche status` to see them"
            ) from None
        _state_file(paths).unlink(missing_ok=True)
        yield
