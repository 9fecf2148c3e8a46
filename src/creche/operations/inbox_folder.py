"""The folder of an inbox: its items, and the move of one to done/ or refused/."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from creche.data.folder_content import FolderContent, list_folder
from creche.errors import DataError
from creche.project import ProjectPaths
from creche.provenance import sha256_of

DONE = "done"
REFUSED = "refused"
SCORED = "scored"
REASON_SUFFIX = ".reason.txt"
NAME_BYTES = 200  # of a name that is extended: file systems allow 255
MOVE_BACK = "then move it back into the inbox"


class ItemError(Exception):
    """An item of an inbox cannot be scored; the message is the reason."""


@dataclass(frozen=True)
class RefusedItem:
    """An item in refused/, with its reason."""

    path: Path
    reason: str
    time: float  # of its refusal, s since the epoch


def inbox_folder(paths: ProjectPaths, recipe: str) -> Path:
    """Return the folder of a recipe's inbox."""
    return paths.home / "inbox" / recipe


def items(folder: Path) -> list[Path]:
    """Return the files and folders in an inbox that wait to be scored, sorted."""
    waiting = []
    for path in sorted(folder.iterdir()):
        is_own = path.name in (DONE, REFUSED, SCORED)
        if not is_own and not path.name.startswith("."):
            waiting.append(path)
    return waiting


def stamp(path: Path) -> int | None:
    """Return a number that changes with the size or time of an item's files.

    Returns:
        None where there is nothing to score yet: the item is gone, or a folder without files.

    Raises:
        ItemError: the item is neither a file nor a folder, or its name is not UTF-8.
        OSError, DataError: it cannot be read.
    """
    if not os.path.lexists(path):
        return None
    _check_name(path.name)
    if path.is_dir():
        content = list_folder(path)
        if not content.files and not content.unreadable:
            return None
        return _folder_stamp(path, content)
    if not path.is_file():
        raise ItemError("it is neither a file nor a folder: put a copy of the file there")
    status = path.stat()
    return hash((status.st_size, status.st_mtime_ns))


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ItemError(f"its name {name!r} is not UTF-8: rename it, {MOVE_BACK}") from None


def _folder_stamp(folder: Path, content: FolderContent) -> int:
    # Programs that copy a folder write to hidden names first.
    entries: list[tuple[str, int, int]] = [(name, 0, 0) for name in content.hidden]
    for name in content.files:
        status = (folder / name).stat()
        entries.append((name, status.st_size, status.st_mtime_ns))
    return hash(tuple(entries))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files.

    Raises:
        OSError, DataError: it cannot be read.
    """
    if not path.is_dir():
        return sha256_of(path)
    total = hashlib.sha256()
    for name in list_folder(path).files:
        _check_name(name)
        total.update(f"{name}\0{sha256_of(path / name)}\n".encode())
    return total.hexdigest()


def output_name(path: Path, sha256_start: str) -> str:
    """Return the name of the folder of an item's predictions."""
    return f"{_shortened(path.stem)}-{sha256_start}"


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:NAME_BYTES]).encode("utf-8", "ignore").decode()


def move(item: Path, folder: str, reason: str = "") -> Path:
    """Move an item out of the inbox; one of the same name there is not replaced.

    Args:
        item: the file or folder in the inbox.
        folder: DONE or REFUSED.
        reason: written beside a refused item.

    Returns:
        Where it is.
    """
    target = item.parent / folder / item.name
    number = 1
    while os.path.lexists(target):
        number += 1
        name = f"{_shortened(item.stem)}-{number}{_shortened(item.suffix)}"
        target = item.parent / folder / name
    if reason:
        text = reason.encode("utf-8", "backslashreplace").decode()
        reason_path(target).write_text(text + "\n", encoding="utf-8")
    return item.rename(target)


def reason_path(refused: Path) -> Path:
    """Return the path of the reason beside a refused item."""
    name = os.fsdecode(os.fsencode(refused.name)[:NAME_BYTES])
    return refused.with_name(name + REASON_SUFFIX)


def refused_items(folder: Path) -> list[RefusedItem]:
    """Return the items in an inbox's refused/ that are still there, the latest first."""
    present_items = []
    refused = folder / REFUSED
    for path in refused.iterdir() if refused.is_dir() else ():
        reason_file = reason_path(path)
        if path.name.endswith(REASON_SUFFIX) or not reason_file.is_file():
            continue
        reason = reason_file.read_text(encoding="utf-8").strip()
        present_items.append(RefusedItem(path, reason, reason_file.stat().st_mtime))
    present_items.sort(key=lambda item: item.time, reverse=True)
    return present_items


def inboxes(paths: ProjectPaths) -> Iterator[tuple[str, Path]]:
    """Yield the recipe and the folder of each inbox."""
    home = paths.home / "inbox"
    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        if folder.is_dir():
            yield folder.name, folder


def problem(path: Path) -> str | None:
    """Return why an item cannot be scored as it is; None where nothing prevents it."""
    try:
        if stamp(path) is not None and path.is_file():
            with path.open("rb") as file:
                file.read(1)
    except ItemError as error:
        return str(error)
    except OSError as error:
        return unreadable_reason(error)
    except DataError as error:
        return str(error)
    return None


def unreadable_reason(error: OSError) -> str:
    """Return the reason of an item that cannot be read."""
    return f"it cannot be read: {error.strerror or error}: make it readable, {MOVE_BACK}"


def age_days(item: RefusedItem) -> float:
    """Return how long ago an item was refused (days)."""
    return (time.time() - item.time) / 86_400
