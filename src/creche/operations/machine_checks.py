"""Checks of `creche doctor` that need no Prefect server: locks of DVC, files that dead
processes left, data in the DVC remote, free space and clock of the disk, versions of the libraries.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from creche.data.dvc_fetch import NoRemoteError
from creche.data.dvc_store import missing_in_remote, push_objects
from creche.errors import UnreachableError
from creche.operations.issues import FIX, INSTALL, Issue, readable_size
from creche.operations.processes import is_alive
from creche.pipeline.retention import last_modified, size_of
from creche.project import KEEP_VERSIONS, STALE_DAYS, TMP, ProjectPaths

MIN_FREE_BYTES = 2 * 2**30
MIN_FREE_SHARE = 0.05  # of the disk, 0..1
CLOCK_SECONDS = 5.0  # that two clocks may differ by
# A lock or file that has not changed for so long belongs to no process of another machine either.
ABANDONED_SECONDS = 3600.0
TMP_SECONDS = 86_400  # that a file in CRECHE_HOME/tmp may be left
HARDLINK_LOCK_SECONDS = 365 * 86_400  # DVC dates its hard-link locks so far ahead
CHECKED_LIBRARIES = ("prefect", "torch", "onnxruntime", "mlflow", "dvc", "great-expectations")
LARGEST_FOLDERS = 4
# Any folder or address that other machines reach will do.
ADD_REMOTE = "dvc remote add --default storage FOLDER_OR_URL"
SET_CLOCK = "sudo timedatectl set-ntp true"
PRUNE = f"creche prune --keep {KEEP_VERSIONS} --days {STALE_DAYS} --yes"


def locks(paths: ProjectPaths) -> Iterator[Issue]:
    """Find locks of DVC that no process holds, or that one has held for too long."""
    folder = paths.root / ".dvc" / "tmp"
    table = folder / "rwlock"
    if table.is_file():
        yield from _check_lock_table(table)
    lock = folder / "lock"
    if lock.is_file():
        yield from _check_lock(lock)


def _check_lock_table(table: Path) -> Iterator[Issue]:
    pids = _lock_holders(table)
    if pids is None:
        message = f"{table} cannot be read, so DVC refuses every command"
        yield Issue("locks", message, FIX, table.unlink)
    elif pids and not any(is_alive(pid) for pid in pids):
        numbers = ", ".join(str(pid) for pid in pids)
        message = f"{table} names processes that are gone: {numbers}"
        yield Issue("locks", message, FIX, table.unlink)


def _lock_holders(table: Path) -> list[int] | None:
    """Return the processes that DVC's table of locks names; None where the table is damaged."""
    try:
        content = json.loads(table.read_text())
        pids = {writer["pid"] for writer in content.get("write", {}).values()}
        for readers in content.get("read", {}).values():
            pids |= {reader["pid"] for reader in readers}
        return sorted(pids)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def _check_lock(lock: Path) -> Iterator[Issue]:
    status = lock.stat()
    age = time.time() - status.st_mtime
    if status.st_nlink > 1:
        # With core.hardlink_lock the kernel does not release the lock of a killed process.
        if age + HARDLINK_LOCK_SECONDS > ABANDONED_SECONDS:
            yield Issue("locks", f"{lock} was taken long ago", f"rm -f {lock}")
        return
    pid = _lock_holder(lock) if age > ABANDONED_SECONDS else None
    if pid:
        since = time.ctime(status.st_mtime)
        yield Issue("locks", f"process {pid} has held {lock} since {since}", f"kill {pid}")


def _lock_holder(lock: Path) -> int | None:
    """Return the process that holds a kernel lock; None where none does."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read().strip() or 0)
    return None


def leftovers(paths: ProjectPaths) -> Iterator[Issue]:
    """Find half-written files of processes that are gone, and old temporary files."""
    left = []
    for part in paths.home.rglob(".*.part"):
        # Named `.NAME.PID.part` (project.atomic_write).
        pid = part.name.split(".")[-2]
        is_stale = last_modified(part) < time.time() - ABANDONED_SECONDS
        if is_stale and pid.isdigit() and not is_alive(int(pid)):
            left.append(part)
    for path in (paths.home / TMP).glob("*"):
        if last_modified(path) < time.time() - TMP_SECONDS:
            left.append(path)
    if left:
        size = readable_size(sum(size_of(path) for path in left))
        message = f"{len(left)} files of processes that are gone, {size}: {left[0]}"
        yield Issue("leftovers", message, FIX, partial(_remove, left))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def data(paths: ProjectPaths) -> Iterator[Issue]:
    """Find data that a `.dvc` file states and that others could not pull."""
    for pointer in sorted(paths.root.glob("*.dvc")):
        # `.dvc` itself is a folder.
        if pointer.is_file():
            yield from _check_pointer(pointer, paths.root)


def _check_pointer(pointer: Path, root: Path) -> Iterator[Issue]:
    try:
        missing = missing_in_remote(pointer, root)
    except NoRemoteError as error:
        yield Issue("data", str(error), f"{ADD_REMOTE} && dvc push {pointer.name}")
        return
    except UnreachableError as error:
        yield Issue("data", str(error), f"dvc status --cloud {pointer.name}")
        return
    absent, lost, is_pushable = missing
    message = f"{len(absent)} objects of {pointer.name} are not in the remote"
    if lost:
        message += f", {len(lost)} not in this machine's DVC cache either: ask who added them"
        yield Issue("data", message, f"git log -3 {pointer.name}")
    elif is_pushable:
        yield Issue("data", message, f"dvc push {pointer.name}")
    elif absent:
        # `dvc push` does not see a lost object of a folder whose listing is in the remote.
        yield Issue("data", message, FIX, partial(push_objects, absent, root))


def disk(paths: ProjectPaths) -> Iterator[Issue]:
    """Check the free space, and name the largest folders."""
    usage = shutil.disk_usage(paths.home if paths.home.is_dir() else paths.root)
    if usage.free >= max(MIN_FREE_BYTES, MIN_FREE_SHARE * usage.total):
        return
    sizes = sorted(((size_of(path), path.name) for path in paths.home.glob("*")), reverse=True)
    largest = []
    for size, name in sizes[:LARGEST_FOLDERS]:
        if size:
            largest.append(f"{name} {readable_size(size)}")
    message = (
        f"{readable_size(usage.free)} of {readable_size(usage.total)} are free; "
        f"the largest in {paths.home}: {', '.join(largest) or 'nothing'}"
    )
    yield Issue("disk", message, PRUNE)


def disk_clock(paths: ProjectPaths) -> Iterator[Issue]:
    """Compare the clock of the disk, which may be another machine's, with this one's."""
    if not paths.home.is_dir():
        return
    probe = paths.home / f".clock.{os.getpid()}.part"
    try:
        probe.touch()
        difference = probe.stat().st_mtime - time.time()
    finally:
        probe.unlink(missing_ok=True)
    if abs(difference) > CLOCK_SECONDS:
        message = f"the disk of {paths.home} is {difference:+.0f} s off this machine's clock"
        yield Issue("clock", message, SET_CLOCK)


def library_versions(paths: ProjectPaths) -> Iterator[Issue]:
    """Compare the installed libraries with requirements.lock, the versions tested together."""
    lock = paths.root / "requirements.lock"
    pinned = {}
    for line in lock.read_text().splitlines() if lock.is_file() else []:
        if "==" in line:
            name, pinned_version = line.split()[0].split("==", 1)
            pinned[name] = pinned_version
    for name in CHECKED_LIBRARIES:
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            installed = "not installed"
        if pinned.get(name, installed) != installed:
            message = f"{name} is {installed}, and {pinned[name]} in {lock.name}"
            yield Issue("versions", message, INSTALL)
