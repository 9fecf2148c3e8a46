"""One process that `creche up` keeps running."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from creche.operations.processes import kill_process_group
from creche.records import ManagedProcessState
from creche.training.distributed import set_parent_death_signal

RESTART_DELAYS = (0, 1, 2, 5, 10, 30)  # s between a start and the next, by the number of restarts
STABLE_SECONDS = 60 + RESTART_DELAYS[-1]  # after so long a life, earlier restarts do not count
STOP_SECONDS = 30  # that a process may take to end

OnLine = Callable[[str], None]


@dataclass
class ManagedProcess:
    """A command that is started, and started again when it ends.

    Args:
        name: under which its output is logged.
        command: program and arguments.
        env: variables beside those of this process.
        parent_death_signal: what it gets when the supervisor is gone (Linux only).
    """

    name: str
    command: list[str]
    env: Mapping[str, str]
    parent_death_signal: signal.Signals = signal.SIGTERM
    restarts: int = 0
    started: float = 0.0  # s since the epoch
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def start(self, folder: Path, on_line: OnLine) -> None:
        """Start it.

        Args:
            folder: its working directory.
            on_line: called with each line of its output, from another thread.
        """
        # Linux sends the parent-death signal when the thread ends that has forked the process.
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a managed process is started by the main thread only")
        self.process = subprocess.Popen(  # noqa: S603
            self.command,
            env={**os.environ, **self.env},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C at the terminal is for the supervisor alone.
            start_new_session=True,
            preexec_fn=_prepare_child(self.parent_death_signal),
        )
        self.started = time.time()
        relay = threading.Thread(
            target=_relay, args=(self.process.stdout, on_line), name=self.name, daemon=True
        )
        relay.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None where it runs, or was never started."""
        return None if self.process is None else self.process.poll()

    def is_restart_due(self) -> bool:
        """Return whether it has ended, and has been started long enough ago to be started again."""
        if self.exit_code is None:
            return False
        seconds = time.time() - self.started
        if seconds > STABLE_SECONDS:
            self.restarts = 1
        delay = RESTART_DELAYS[min(self.restarts, len(RESTART_DELAYS) - 1)]
        return seconds >= delay

    def kill_descendants(self) -> None:
        """Kill what it has started; a killed server leaves processes that hold its port."""
        if self.process is not None:
            kill_process_group(self.process.pid)

    def stop(self, stop_signal: signal.Signals, timeout: float) -> None:
        """Send the signal, wait up to `timeout` (s), then kill it with all its descendants."""
        if self.process is None:
            return
        self.process.send_signal(stop_signal)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        self.kill_descendants()
        self.process.wait(timeout)

    def state(self) -> ManagedProcessState:
        """Return its entry in the state file."""
        return ManagedProcessState(
            pid=self.process.pid if self.process else None,
            started=self.started,
            command=self.command,
            restarts=self.restarts,
        )


def _relay(lines: IO[str] | None, on_line: OnLine) -> None:
    if lines is None:
        return
    with lines:
        for line in lines:
            if line.strip():
                on_line(line)


def _prepare_child(parent_death_signal: signal.Signals) -> Callable[[], None]:
    supervisor_pid = os.getpid()

    def prepare() -> None:
        # Processes that a shell starts with `&` ignore these, and so would what they start.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":
            set_parent_death_signal(parent_death_signal)
            # The supervisor may have died before the call.
            if os.getppid() != supervisor_pid:
                os._exit(1)

    return prepare
