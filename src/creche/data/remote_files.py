"""Files behind a URL, through fsspec."""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs

from creche.data.folder_content import FolderContent, is_hidden
from creche.errors import DataError

GLOB_CHARACTERS = frozenset("*?[")
# What fsspec's file systems call the version of a file, a checksum of it, or its time of change.
CHANGE_KEYS = (
    "ETag",
    "etag",
    "VersionId",
    "generation",
    "md5Hash",
    "content_md5",
    "Content-MD5",
    "Digest",
    "LastModified",
    "last_modified",
    "modificationTime",
    "updated",
    "modify",
    "created",
)


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path on it.

    Raises:
        DataError: fsspec or the package for the protocol is missing, or the URL is wrong.
    """
    try:
        import fsspec
    except ModuleNotFoundError:
        raise DataError(
            f"{url}: URLs need fsspec, and its package for the protocol: run "
            "`pip install 'creche[remote]'`"
        ) from None
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{url}: {error}") from None
    return file_system, path


def arrow_file_system(file_system: Any) -> Any:
    """Return a fsspec file system as one of Arrow."""
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(file_system))


def remote_change(system: Any, path: str) -> int:
    """Return a number that is another one after a file has changed.

    Args:
        system: a pyarrow FileSystem.
        path: of the file on it.

    Returns:
        A digest of what fsspec states of the file's version; 0 where it states nothing, or where
        the system is not one of fsspec.
    """
    handler = getattr(system, "handler", None)
    if not isinstance(handler, pyarrow.fs.FSSpecHandler):
        return 0
    # A listing that fsspec holds would hide that the file has changed since.
    handler.fs.invalidate_cache(path)
    info = handler.fs.info(path)
    versions = []
    for key in CHANGE_KEYS:
        if info.get(key):
            versions.append((key, str(info[key])))
    if not versions:
        return 0
    return int(hashlib.sha256(repr(versions).encode()).hexdigest()[:15], 16)


def list_remote(file_system: Any, path: str) -> tuple[str, FolderContent]:
    """Return a folder, and the files in it that a path or pattern names.

    The folder is the path itself, or the fixed beginning of a pattern.
    """
    content = FolderContent()
    if not GLOB_CHARACTERS.intersection(path):
        for file in file_system.find(path):
            content.add_file(PurePosixPath(file).relative_to(path).as_posix())
        content.sort()
        return path, content
    parts = PurePosixPath(path).parts
    fixed_parts = tuple(parts_before_glob(parts))
    base = str(PurePosixPath(*fixed_parts))
    pattern = "/".join(parts[len(fixed_parts) :])
    in_folders = set()
    matches = file_system.glob(path, detail=True)
    for match, info in matches.items():
        relative = PurePosixPath(match).relative_to(base).as_posix()
        if info["type"] == "directory":
            if is_hidden(relative) and not is_hidden(pattern):
                content.hidden.append(relative)
            else:
                in_folders.update(file_system.find(match))
            continue
        content.add_matched_file(relative, pattern)
    for file in in_folders - matches.keys():
        content.add_file(PurePosixPath(file).relative_to(base).as_posix())
    content.sort()
    return base, content


def parts_before_glob(parts: tuple[str, ...]) -> Iterator[str]:
    """Yield the folders of a pattern before the first that has a wildcard."""
    for part in parts[:-1]:
        if GLOB_CHARACTERS.intersection(part):
            return
        yield part
