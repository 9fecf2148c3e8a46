"""What can go amiss on one machine, and its cure. What only the Prefect server knows is looked at
in flows.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

from creche import registry
from creche.data.dvc_store import missing_in_remote, push_objects
from creche.errors import UnreachableError
from creche.operations.supervisor import alive
from creche.pipeline.retention import last_modified, size_of
from creche.project import TMP, ProjectPaths
from creche.registry import promotion_log

FIX = "creche doctor --fix"
FREE_BYTES, FREE_SHARE = 2 * 2**30, 0.05  # of the disk, below which it is short
CLOCK_SECONDS = 5.0  # that two clocks may be apart
LEFT_SECONDS = (
    3600.0  # a file that nobody has written to for so long is not of a process on another machine
)
HARDLINK_SECONDS = 365 * 86400  # DVC's hard-link locks carry the time of their own end
WATCHED = ("prefect", "torch", "onnxruntime", "mlflow", "dvc", "great-expectations")
INSTALL = "rm -f .venv/ready && make .venv/ready"


@dataclass(frozen=True)
class Issue:
    """Something amiss: what, and the command that cures it; `fix`, where it can do no harm."""

    check: str
    message: str
    remedy: str
    fix: Callable[[], None] | None = None


def readable(size: float) -> str:
    """A number of bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def locks(paths: ProjectPaths) -> Iterator[Issue]:
    """Locks of DVC that nobody holds, or that somebody has held for too long to be at work."""
    folder = paths.root / ".dvc" / "tmp"
    table, lock = folder / "rwlock", folder / "lock"
    if table.is_file():
        pids = _holders(table)
        if pids is None:
            yield Issue(
                "locks", f"{table} cannot be read, so DVC refuses every command", FIX, table.unlink
            )
        elif pids and not any(map(alive, pids)):
            yield Issue(
                "locks",
                f"{table} names processes that are gone: {', '.join(map(str, pids))}",
                FIX,
                table.unlink,
            )
    if not lock.is_file():
        return
    status = lock.stat()
    if status.st_nlink > 1:  # core.hardlink_lock: the kernel does not take it back
        if time.time() - status.st_mtime + HARDLINK_SECONDS > LEFT_SECONDS:
            yield Issue("locks", f"{lock} was taken long ago", f"rm -f {lock}")
    elif time.time() - status.st_mtime > LEFT_SECONDS and (pid := _held(lock)):
        yield Issue(
            "locks",
            f"process {pid} has held {lock} since {time.ctime(status.st_mtime)}",
            f"kill {pid}",
        )


def _holders(table: Path) -> list[int] | None:
    """The processes that DVC's table of locks names; None where it is cut short."""
    try:
        told = json.loads(table.read_text())
        held = [
            *told.get("write", {}).values(),
            *chain.from_iterable(told.get("read", {}).values()),
        ]
        return sorted({h["pid"] for h in held})
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def _held(lock: Path) -> int | None:
    """Who holds a lock of the kernel's, if anybody does."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read().strip() or 0)
    return None


def leftovers(paths: ProjectPaths) -> Iterator[Issue]:
    """Half-written files of processes that are gone, and what was put down for a moment."""
    long_ago = time.time() - LEFT_SECONDS
    parts = [p for p in paths.home.rglob(".*.part") if last_modified(p) < long_ago]
    left = [p for p in parts if (pid := p.name.split(".")[-2]).isdigit() and not alive(int(pid))]
    left += [p for p in (paths.home / TMP).glob("*") if last_modified(p) < time.time() - 86400]
    if left:
        said = (
            f"{len(left)} files of processes that are gone, "
            f"{readable(sum(map(size_of, left)))}: {left[0]}"
        )
        yield Issue("leftovers", said, FIX, partial(_remove, left))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def data(paths: ProjectPaths) -> Iterator[Issue]:
    """Data that a `.dvc` file states, and that nobody else could pull."""
    for pointer in sorted(p for p in paths.root.glob("*.dvc") if p.is_file()):
        try:
            absent, lost, named = missing_in_remote(pointer, paths.root)
        except UnreachableError as error:
            yield Issue("data", str(error), f"dvc status --cloud {pointer.name}")
            continue
        said = f"{len(absent)} objects of {pointer.name} are not in the remote"
        if lost:
            said += f", {len(lost)} not in DVC's cache here either: ask who added them"
            yield Issue("data", said, f"git log -3 {pointer.name}")
        elif named:
            yield Issue("data", said, f"dvc push {pointer.name}")
        elif absent:  # which `dvc push` does not see
            yield Issue("data", said, FIX, partial(push_objects, absent, paths.root))


def champions(paths: ProjectPaths) -> Iterator[Issue]:
    """Where the alias does not follow the history."""
    for path in (
        sorted((paths.root / "recipes").glob("*.yaml")) if registry.store_exists(paths) else ()
    ):
        if issue := promotion_log.inspect(path.stem, paths):
            said, curable = issue.message, issue.repairable
            cure = (
                FIX
                if curable
                else f"creche rollback {path.stem} --reason 'its version was deleted'"
            )
            yield Issue(
                "champions", said, cure, partial(_reconcile, path.stem, paths) if curable else None
            )


def _reconcile(recipe: str, paths: ProjectPaths) -> None:
    promotion_log.reconcile(recipe, paths)


def unfinished_runs(paths: ProjectPaths, ended: Callable[[str], str | None]) -> Iterator[Issue]:
    """Runs that MLflow shows as under way, and that are not.

    Args:
        ended: tells how a flow run ended, None where it has not or nobody knows.
    """
    for dead in registry.dead_runs(paths, alive, ended):
        message = f"{dead.run.name} of {dead.run.recipe} is RUNNING in MLflow, and {dead.reason}"
        yield Issue("mlflow", message, FIX, partial(registry.mark_killed, dead.run, paths))


def disk(paths: ProjectPaths) -> Iterator[Issue]:
    """Whether there is room, and what takes most of it."""
    total, _, free = shutil.disk_usage(paths.home if paths.home.is_dir() else paths.root)
    if free >= max(FREE_BYTES, FREE_SHARE * total):
        return
    sizes = sorted(((size_of(p), p.name) for p in paths.home.glob("*")), reverse=True)
    largest = ", ".join(f"{name} {readable(size)}" for size, name in sizes[:4] if size)
    said = (
        f"{readable(free)} of {readable(total)} are free; the largest in {paths.home}: "
        f"{largest or 'nothing'}"
    )
    yield Issue("disk", said, "python -c 'from flows.prune import prune; prune(keep=5, days=7)'")


def disk_clock(paths: ProjectPaths) -> Iterator[Issue]:
    """Whether the disk, which may be another machine's, tells the same time."""
    if not paths.home.is_dir():
        return
    probe = paths.home / f".clock.{os.getpid()}.part"
    try:
        probe.touch()
        apart = probe.stat().st_mtime - time.time()
    finally:
        probe.unlink(missing_ok=True)
    if abs(apart) > CLOCK_SECONDS:
        said = f"the disk of {paths.home} is {apart:+.0f} s off this machine's clock"
        yield Issue("clock", said, "sudo timedatectl set-ntp true")


def versions(paths: ProjectPaths) -> Iterator[Issue]:
    """Whether the libraries are those that were tested together."""
    lock = paths.root / "requirements.lock"
    lines = lock.read_text().splitlines() if lock.is_file() else []
    pinned = dict(line.split()[0].split("==", 1) for line in lines if "==" in line)
    for name in WATCHED:
        try:
            here = version(name).partition("+")[0]
        except PackageNotFoundError:
            here = "not installed"
        if pinned.get(name, here) != here:
            yield Issue("versions", f"{name} is {here}, and {pinned[name]} in {lock.name}", INSTALL)
