"""What is up on this machine: the servers and workers that `creche up` keeps alive, and the record
of them.

One process, the keeper, holds a lock for as long as it lives; the kernel takes it back from a
killed one. What it started
ends when it ends: nothing of an earlier house can be in the way of the next.
"""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from creche.errors import CrecheError
from creche.project import ProjectPaths, read_json, write_json
from creche.training.distributed import SET_PARENT_DEATH_SIGNAL

STATE, LOCK, LOG, ERRORS = "state.json", "lock", "log", "errors"
BACKOFF = (
    0,
    1,
    2,
    5,
    10,
    30,
)  # s before the next start of what died; a minute of life forgives the deaths before it
LOG_BYTES = 20_000_000  # then the log before it is let go


def folder(paths: ProjectPaths) -> Path:
    return paths.home / "up"


def record(paths: ProjectPaths) -> dict[str, Any] | None:
    """What the keeper wrote of what is up here; None where there is no keeper."""
    try:
        with (folder(paths) / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with suppress(FileNotFoundError):
            state: dict[str, Any] = read_json(folder(paths) / STATE)
            return state
        return {"ready": False}
    return None


def addresses(paths: ProjectPaths) -> dict[str, Any]:
    """Where the servers answer: those that the environment names are found, the others get a free
    port, if it can be the same as the last time. A port of None: not started here.
    """
    prefect, mlflow = os.environ.get("PREFECT_API_URL"), os.environ.get("MLFLOW_TRACKING_URI", "")
    found: dict[str, Any] = {"prefect_port": None, "mlflow_port": None}
    before = folder(paths) / STATE
    last = read_json(before) if before.is_file() else {}
    if record(paths) is None:
        _bury(last)
    if not prefect:
        found["prefect_port"] = _free(last.get("prefect_port") or 4200)
        prefect = f"http://127.0.0.1:{found['prefect_port']}/api"
    if not mlflow.startswith("http"):
        found["mlflow_port"] = _free(last.get("mlflow_port") or 5000)
        mlflow = f"http://127.0.0.1:{found['mlflow_port']}"
    return {**found, "prefect": prefect, "ui": prefect.removesuffix("/api"), "mlflow": mlflow}


def _bury(last: Mapping[str, Any]) -> None:
    """End what a killed keeper's servers still do: on another port, the runs that go on would never
    find the new ones.
    """
    children = [
        c for c in last.get("children", {}).values() if c["pid"] and alive(c["pid"], c["started"])
    ]
    for child in children:
        end_group(child["pid"])
    for _ in range(100):
        if not any(alive(c["pid"], c["started"]) for c in children):
            return
        time.sleep(0.1)


def _free(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise CrecheError("no port is free on 127.0.0.1")


@contextmanager
def keeping(paths: ProjectPaths) -> Iterator[None]:
    """Be the keeper.

    Raises:
        CrecheError: another process is.
    """
    folder(paths).mkdir(parents=True, exist_ok=True)
    with (folder(paths) / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CrecheError(
                f"{paths.home} is being kept by another process: creche status"
            ) from None
        (folder(paths) / STATE).unlink(missing_ok=True)  # what the last keeper said is true no more
        yield


def alive(pid: int, since: float | None = None) -> bool:
    """Whether a process of this machine lives, and did at a time (s since the epoch) if given:
    numbers are used again.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            since is None or process.create_time() < since + 2
        )
    except psutil.Error:
        return False


def listening(pid: int) -> set[int]:
    """The ports on which a process or one of its descendants listens."""
    import psutil

    with suppress(psutil.Error):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return {
            c.laddr.port
            for p in family
            for c in p.net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        }
    return set()


@dataclass
class Child:
    """A process that is kept alive."""

    name: str
    command: list[str]
    env: Mapping[str, str]
    parent_death_signal: signal.Signals = signal.SIGTERM  # what it gets when its keeper is gone
    process: "subprocess.Popen[str] | None" = None
    deaths: int = 0
    started: float = 0.0

    def entry(self) -> dict[str, Any]:
        pid = self.process.pid if self.process else None
        return {"pid": pid, "started": self.started, "command": self.command, "deaths": self.deaths}


@dataclass
class Supervisor:
    """Starts processes, starts again the ones that die, and writes one log of all of them."""

    paths: ProjectPaths
    state: dict[str, Any]
    children: dict[str, Child] = field(default_factory=dict)
    _log: IO[str] | None = None
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def say(self, who: str, line: str) -> None:
        with self._writing:
            path = folder(self.paths) / LOG
            if self._log and self._log.tell() > LOG_BYTES:
                self._log.close()
                self._log = None
                path.replace(path.with_name(f"{LOG}.before"))
            self._log = self._log or path.open("a", encoding="utf-8", buffering=1)
            line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {who:<12}{line.rstrip()}"
            self._log.write(line + "\n")
            print(line, flush=True)

    def note(self, **said: Any) -> None:
        """Put what has changed on record."""
        self.state |= said
        self.state["children"] = {name: child.entry() for name, child in self.children.items()}
        write_json(folder(self.paths) / STATE, self.state)

    def start(self, child: Child) -> Child:
        # The kernel tells a child of its parent's death when the thread ends that forked it: this
        # has to be the main one.
        assert threading.current_thread() is threading.main_thread()
        self.children[child.name] = child
        child.process = subprocess.Popen(  # noqa: S603
            child.command,
            env={**os.environ, **child.env},
            cwd=self.paths.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C at the terminal is for the keeper alone
            preexec_fn=_born(child.parent_death_signal),
        )
        child.started = time.time()
        threading.Thread(
            target=self._relay, args=(child.name, child.process.stdout), daemon=True
        ).start()
        self.note()
        return child

    def _relay(self, name: str, lines: IO[str] | None) -> None:
        if lines is None:
            return
        with lines:
            for line in lines:
                if line.strip():
                    self.say(name, line)

    def tend(self) -> None:
        """Start again what has died; call it every second or so."""
        for child in list(self.children.values()):
            if child.process is None or child.process.poll() is None:
                continue
            lived = time.time() - child.started
            child.deaths = 1 if lived > 60 + BACKOFF[-1] else child.deaths
            if lived < BACKOFF[min(child.deaths, len(BACKOFF) - 1)]:
                continue
            end_group(child.process.pid)  # a killed server leaves its own children, on its port
            self.say("creche", f"{child.name} ended ({child.process.returncode}): started again")
            child.deaths += 1
            self.start(child)

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM, patience: float = 30) -> None:
        """End one and do not start it again."""
        child = self.children.pop(name, None)
        if child is None or child.process is None:
            return
        child.process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(patience)
        end_group(child.process.pid)
        child.process.wait(patience)
        self.note()


def _born(parent_death_signal: signal.Signals) -> Callable[[], None]:
    keeper = os.getpid()

    def born() -> None:
        for each in (
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGTERM,
        ):  # a shell's `&` has them ignored
            signal.signal(each, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(parent_death_signal))
            if os.getppid() != keeper:
                os._exit(1)

    return born


def end_group(leader: int) -> None:
    """Kill a process group, if any of it is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def detach(paths: ProjectPaths, words: list[str]) -> None:
    """Start `creche …` in the background, and wait until the house is up.

    Raises:
        CrecheError: it ended before that; the last lines of its log.
    """
    folder(paths).mkdir(parents=True, exist_ok=True)
    with (folder(paths) / ERRORS).open("w+") as said:
        keeper = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "creche.cli", *words],
            cwd=paths.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        while not (record(paths) or {}).get("ready"):
            if keeper.poll() is not None and record(paths) is None:
                said.seek(0)
                told = (
                    said.read().strip()
                    or f"it ended ({keeper.returncode}): see {folder(paths) / LOG}"
                )
                raise CrecheError(told.removeprefix("creche: "))
            time.sleep(0.3)


def end(paths: ProjectPaths, now: bool, tell: Callable[[str], None]) -> None:
    """Ask the keeper to end, tell what it logs meanwhile, and wait until it has."""
    log = folder(paths) / LOG
    log.touch()
    while (state := record(paths)) is not None and "pid" not in state:  # it has only just begun
        time.sleep(0.1)
    with log.open(encoding="utf-8") as lines, suppress(ProcessLookupError):
        lines.seek(0, os.SEEK_END)
        if state:
            os.kill(state["pid"], signal.SIGQUIT if now else signal.SIGTERM)
        while record(paths) is not None:
            for line in lines:
                if any(f"  {who} " in line for who in ("creche", "runs")):
                    tell(line.rstrip())
            time.sleep(0.3)
