"""Keeps the servers and workers of one machine running."""

import signal
import subprocess
import time
from functools import partial

from creche.operations import service_state
from creche.operations.managed_process import STOP_SECONDS, ManagedProcess
from creche.operations.service_log import Log
from creche.project import ProjectPaths
from creche.records import ServicesState, ShutdownMode


class Supervisor:
    """Starts processes, restarts those that have ended, and records what runs.

    Use it from the main thread, while holding `service_state.services_lock`.

    Args:
        paths: of the project, whose root is the working directory of the processes.
        log: gets the output of the processes, line by line.
        state: of the services so far.
    """

    def __init__(self, paths: ProjectPaths, log: Log, state: ServicesState) -> None:
        self.paths = paths
        self.log = log
        self.state = state
        self.processes: dict[str, ManagedProcess] = {}

    def start(self, process: ManagedProcess) -> None:
        """Start a process and keep it running until `stop`."""
        self.processes[process.name] = process
        process.start(self.paths.root, partial(self.log, process.name))
        self._write_state()

    def restart_dead(self) -> None:
        """Restart the processes that have ended; call it every second or so."""
        for process in list(self.processes.values()):
            if not process.is_restart_due():
                continue
            process.kill_descendants()
            self.log("creche", f"{process.name} ended ({process.exit_code}): restarted")
            process.restarts += 1
            try:
                self.start(process)
            except (OSError, subprocess.SubprocessError) as error:
                # Without memory or file descriptors; the others still have to be watched.
                process.started = time.time()
                self.log("creche", f"{process.name} cannot be started, tried again: {error}")

    def stop(
        self,
        name: str,
        stop_signal: signal.Signals = signal.SIGTERM,
        timeout: float = STOP_SECONDS,
    ) -> None:
        """Stop a process, if there is one of this name, and do not restart it."""
        process = self.processes.pop(name, None)
        if process is not None:
            process.stop(stop_signal, timeout)
            self._write_state()

    def set_ready(self) -> None:
        """Record that everything has been started."""
        self.state.ready = True
        self._write_state()

    def set_shutdown(self, mode: ShutdownMode) -> None:
        """Record that the services are going to end."""
        self.state.ready = False
        self.state.shutdown = mode
        self._write_state()

    def add_paused_pool(self, pool: str) -> None:
        """Record that the services are going to pause a pool."""
        self.state.paused_pools.append(pool)
        self._write_state()

    def remove_paused_pool(self, pool: str) -> None:
        """Record that a pool which the services had paused is resumed."""
        self.state.paused_pools.remove(pool)
        self._write_state()

    def _write_state(self) -> None:
        entries = {}
        for name, process in self.processes.items():
            entries[name] = process.state()
        self.state.processes = entries
        service_state.write_state(self.paths, self.state)
