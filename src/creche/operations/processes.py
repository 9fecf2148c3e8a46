"""Processes of this machine: whether one is alive, on which ports it listens, how to kill it."""

import os
import signal
from contextlib import suppress

import psutil

# A process that is recorded as started then may have been created a little later.
CLOCK_TOLERANCE_SECONDS = 2


def is_alive(pid: int, since: float | None = None) -> bool:
    """Return whether a process of this machine is alive.

    Args:
        pid: its number.
        since: a time (s since the epoch) at which it was alive too; the kernel uses numbers again,
            and a younger process with this number is another one.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return since is None or process.create_time() < since + CLOCK_TOLERANCE_SECONDS
    except psutil.Error:
        return False


def listening_ports(pid: int) -> set[int]:
    """Return the ports on which a process or one of its descendants listens."""
    ports = set()
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    ports.add(connection.laddr.port)
    return ports


def kill_process_group(leader: int) -> None:
    """Kill what is left of a process group, if anything is."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
