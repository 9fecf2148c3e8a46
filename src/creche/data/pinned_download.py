"""Files that a recipe pins by MD5: downloaded once, unpacked from archives, checked at each use."""

import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError

from creche.data.dvc_ignore import tracked_version
from creche.errors import DataError, UnreachableError
from creche.project import ProjectPaths, atomic_write
from creche.provenance import md5_of
from creche.recipe import DataSpec

TIMEOUT_SECONDS = 60  # without a byte from the server
DOWNLOADS_FOLDER = "downloads"  # under the home; in it a folder for each MD5


def pinned_file(spec: DataSpec, paths: ProjectPaths, data: Path | None) -> Path:
    """Return the file or folder, or the folder of an archive's files, that a recipe pins by MD5.

    Args:
        data: a file to use in place of the recipe's; it must be the pinned one.

    Raises:
        DataError: it cannot be had, or its bytes are not the pinned ones.
    """
    if spec.files:
        return _archive_files(spec, paths, data)
    if spec.md5 is None:
        raise DataError(
            "the recipe pins no md5 under data: state the file's there, and another file can stand "
            "in for it"
        )
    path = _path_of_file(spec, paths, data)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    md5 = tracked_version(path, paths.root)
    if md5 != spec.md5:
        kind = "file" if path.is_file() else "folder"
        raise DataError(
            f"{path} is not the {kind} that the recipe pins: md5 {md5}, not {spec.md5}. If the new "
            f"{kind} is meant, state its md5 under data in the recipe"
        )
    return path


def _path_of_file(spec: DataSpec, paths: ProjectPaths, data: Path | None) -> Path:
    """Return where a pinned file is, downloaded where it has to be; its bytes are not checked."""
    if not spec.url:
        return data if data is not None else paths.root / str(spec.path)
    stored = _download_folder(spec, paths) / _file_name(spec.url)
    if data is None:
        if not stored.is_file():
            download(spec.url, stored, str(spec.md5))
        return stored
    is_pinned_one = data.is_file() and md5_of(data) == spec.md5
    if is_pinned_one and not stored.is_file():
        # A copy stays, so that later steps and `creche reproduce` find it.
        with atomic_write(stored) as temporary:
            shutil.copyfile(data, temporary)
    return data


def _file_name(url: str) -> str:
    return url.rsplit("/", 1)[-1] or "data"


def _download_folder(spec: DataSpec, paths: ProjectPaths) -> Path:
    return paths.home / DOWNLOADS_FOLDER / str(spec.md5)


def _archive_files(spec: DataSpec, paths: ProjectPaths, data: Path | None) -> Path:
    """Return the folder of an archive's files.

    That is `data`, else the recipe's own folder, else the one below the home. Every file has to be
    right in the first of them that exists.
    """
    unpacked = _download_folder(spec, paths) / "files"
    if data is not None and data.is_file():
        _check_archive(data, spec)
        _unpack(data, unpacked, spec)
        return unpacked
    if data is not None:
        _check_files(data, spec)
        return data
    own_folder = _expanded(spec.folder)
    for folder in (own_folder, unpacked):
        if folder is not None and folder.is_dir():
            _check_files(folder, spec)
            return folder
    archive = unpacked.with_name("archive")
    if not archive.is_file():
        download(str(spec.url), archive, str(spec.md5))
    _unpack(archive, unpacked, spec)
    archive.unlink()
    return unpacked


def _expanded(folder: str | None) -> Path | None:
    """Return a folder with its environment variables filled in; None where one of them is not
    set.
    """
    expanded = os.path.expandvars(folder or "")
    if not expanded or "$" in expanded:
        return None
    return Path(expanded).expanduser()


def _check_archive(data: Path, spec: DataSpec) -> None:
    md5 = md5_of(data)
    if md5 != spec.md5:
        raise DataError(
            f"{data} is not the archive that the recipe pins: md5 {md5}, not {spec.md5}: download "
            "it again"
        )


def _check_files(folder: Path, spec: DataSpec) -> None:
    for name, expected in spec.files.items():
        path = folder / name
        if path.is_file() and md5_of(path) == expected:
            continue
        problem = "is not the file that the recipe pins" if path.is_file() else "is missing"
        raise DataError(
            f"{path} {problem} (md5 {expected} under data.files): put the whole {spec.url} there, "
            "unpacked, or download it elsewhere and pass --data ARCHIVE"
        )


def _unpack(archive: Path, to: Path, spec: DataSpec) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=to.parent))
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                _extract_pinned(packed, member, temporary, spec)
        _check_files(temporary, spec)
        shutil.rmtree(to, ignore_errors=True)
        temporary.rename(to)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked into {to}: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract_pinned(
    packed: tarfile.TarFile, member: tarfile.TarInfo, to: Path, spec: DataSpec
) -> None:
    # Folders in the archive are dropped, so that no member is written outside `to`.
    name = PurePosixPath(member.name).name
    if not member.isfile() or name not in spec.files:
        return
    content = packed.extractfile(member)
    if content is not None:
        with (to / name).open("wb") as file:
            shutil.copyfileobj(content, file)


def download(url: str, to: Path, md5: str) -> None:
    """Download a file whose MD5 is known; it appears whole or not at all.

    Raises:
        UnreachableError: the server does not respond, or breaks off: trying again may help.
        DataError: the server has no such file, or another one.
    """
    with _download_errors(url), atomic_write(to) as temporary:
        _copy(url, temporary)
        received_md5 = md5_of(temporary)
        if received_md5 != md5:
            raise DataError(
                f"{url} no longer gives the file that the recipe pins (md5 {received_md5})"
            )


@contextmanager
def _download_errors(url: str) -> Iterator[None]:
    """Turn what goes wrong in a download into a sentence."""
    if not url.startswith(("https://", "http://", "file://")):
        raise DataError(f"{url}: only https, http and file URLs are downloaded")
    try:
        yield
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        # Another attempt does not help where the server refuses the request.
        is_refused = isinstance(error, HTTPError) and error.code < 500
        is_final = is_refused or url.startswith("file:")
        error_type = DataError if is_final else UnreachableError
        raise error_type(
            f"{url} cannot be downloaded ({reason}); download it elsewhere and pass --data FILE: "
            "its md5 is checked all the same"
        ) from None


def _copy(url: str, to: Path) -> None:
    # `_download_errors` admits only https, http and file.
    response = urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)  # noqa: S310
    with response, to.open("wb") as file:
        shutil.copyfileobj(response, file)
    # urllib does not notice a connection that breaks off.
    expected_bytes = int(response.headers.get("Content-Length") or -1)
    received_bytes = to.stat().st_size
    if received_bytes < expected_bytes:
        raise URLError(f"{received_bytes} of {expected_bytes} bytes were received")


def download_unpinned(url: str, paths: ProjectPaths) -> tuple[Path, str]:
    """Download a file whose MD5 is not known yet, to where a recipe that pins it will look.

    Returns:
        The file, and its MD5.

    Raises:
        UnreachableError: the server does not respond, or breaks off: trying again may help.
        DataError: the server has no such file.
    """
    folder = paths.home / DOWNLOADS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        received = Path(temporary) / "received"
        with _download_errors(url):
            _copy(url, received)
        md5 = md5_of(received)
        stored = folder / md5 / _file_name(url)
        stored.parent.mkdir(exist_ok=True)
        received.replace(stored)
    return stored, md5
