"""Stop what is left of services whose supervisor was killed."""

import time

from creche.operations import service_state
from creche.operations.processes import is_alive, kill_process_group
from creche.project import ProjectPaths

STOP_SECONDS = 10  # that killed processes may take to be gone
POLL_SECONDS = 0.1


def stop_orphans(paths: ProjectPaths) -> None:
    """Kill the servers and workers that a killed supervisor has left, and wait until they are gone.

    Call it before `find_addresses`: the runs that go on know the servers by their ports, and would
    not find new ones on other ports. Nothing happens while services run.
    """
    orphans = _find_orphans(paths)
    for pid, _ in orphans:
        kill_process_group(pid)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if not any(is_alive(pid, started) for pid, started in orphans):
            return
        time.sleep(POLL_SECONDS)


def _find_orphans(paths: ProjectPaths) -> list[tuple[int, float]]:
    """Return PID and start (s since the epoch) of each process that is left."""
    state = service_state.last_state(paths)
    if state is None or service_state.read_state(paths) is not None:
        return []
    orphans = []
    for process in state.processes.values():
        if process.pid and is_alive(process.pid, process.started):
            orphans.append((process.pid, process.started))
    return orphans
