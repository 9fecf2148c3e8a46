"""Start the services in the background, and stop them, from another process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from creche.errors import CrecheError
from creche.operations import service_state
from creche.operations.service_log import is_from
from creche.project import ProjectPaths
from creche.records import ServicesState

POLL_SECONDS = 0.3


def start_in_background(paths: ProjectPaths, arguments: Sequence[str]) -> None:
    """Start `creche …` in the background, and wait until the services are ready.

    Raises:
        CrecheError: it ended before that; the message is what it wrote.
    """
    paths.create_home()
    folder = service_state.services_folder(paths)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "creche.cli", *arguments],
            cwd=paths.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        while True:
            state = service_state.read_state(paths)
            if state is not None and state.ready:
                return
            # Where it has ended, another process may have started the services meanwhile.
            if state is None and process.poll() is not None:
                errors.seek(0)
                message = errors.read().strip()
                if not message:
                    log = service_state.log_file(paths)
                    message = f"it ended with exit code {process.returncode}: read {log}"
                raise CrecheError(message.removeprefix("creche: "))
            time.sleep(POLL_SECONDS)


def stop_services(paths: ProjectPaths, now: bool, on_line: Callable[[str], None]) -> None:
    """Have the services end, and wait until they have.

    Args:
        paths: of the project.
        now: kill the runs in progress instead of waiting for them.
        on_line: called with what the services log meanwhile of themselves and of runs.
    """
    log = service_state.log_file(paths)
    log.touch()
    state = _wait_for_pid(paths)
    with log.open(encoding="utf-8") as lines, suppress(ProcessLookupError):
        lines.seek(0, os.SEEK_END)
        if state is not None and state.pid is not None:
            os.kill(state.pid, signal.SIGQUIT if now else signal.SIGTERM)
        while service_state.read_state(paths) is not None:
            for line in lines:
                if is_from(line, "creche", "runs"):
                    on_line(line.rstrip())
            time.sleep(POLL_SECONDS)


def _wait_for_pid(paths: ProjectPaths) -> ServicesState | None:
    """Return the state of the services; those that have just started have not written it yet."""
    while True:
        state = service_state.read_state(paths)
        if state is None or state.pid is not None:
            return state
        time.sleep(POLL_SECONDS)
