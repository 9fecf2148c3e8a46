"""Bring the observations here, and prove that they are the bytes that were asked for.

DVC fetches, but does not decide: a corrupt object in a remote is pulled with exit code 0, so the MD5s that the `.dvc`
file states are checked here, before (whole data cost no import of dvc) and after.
"""

import json
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError

import yaml

from creche.errors import DataError, UnreachableError
from creche.project import SOURCE, ProjectPaths, atomic_write, write_json
from creche.provenance import md5_of, version_of
from creche.recipe import DataSpec, Recipe

READS: tuple[str, ...] = ()
WRITES = (SOURCE,)


def run(recipe: Recipe, paths: ProjectPaths, data: Path | None = None) -> dict[str, Any]:
    """Write `source.json`: which file, which MD5 (the data version), how many bytes.

    Args:
        data: a file to read in place of the recipe's; it must still be the one that the recipe pins.
    """
    source = describe(pull(recipe.data, paths, data), paths)
    if recipe.data.files:  # whatever else lies beside them
        source |= {"version": recipe.data.md5, "files": recipe.data.files}
    write_json(paths / SOURCE, source)
    return source


def describe(path: Path, paths: ProjectPaths) -> dict[str, Any]:
    """Which file or folder, which version, how many bytes."""
    inside = path.resolve().is_relative_to(paths.root)
    return {
        "path": path.resolve().relative_to(paths.root).as_posix()
        if inside
        else str(path.resolve()),
        "version": version_of(path),
        "bytes": sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        if path.is_dir()
        else path.stat().st_size,
    }


def pull(source: DataSpec, paths: ProjectPaths, data: Path | None = None) -> Path:
    """The checked file.

    Raises:
        DataError: it cannot be had, or its bytes are not the ones that the recipe or the `.dvc` file states.
    """
    if data is not None or source.md5:
        return _pinned(source, paths, data)
    assert source.path is not None
    path = paths.root / source.path
    pointer = _pointer(path, paths.root)
    if pointer is None:
        raise DataError(
            f"{source.path} is neither tracked by DVC nor pinned: run `dvc add {source.path}`, "
            f"or state its md5 under data in the recipe"
        )
    try:
        out = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
        target, expected = pointer.parent / out["path"], str(out["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise DataError(
            f"{pointer.name} is no DVC file that can be read: restore it with `git checkout {pointer.name}`"
        ) from None
    if not target.exists() or version_of(target) != expected:
        _dvc_pull(pointer, paths.root)
        if not _whole(target, expected, paths.root):
            raise DataError(
                f"{out['path']} was pulled, but its bytes are not the ones that {pointer.name} states "
                f"({out['md5']}): the remote or .dvc/cache holds a corrupt object. Put it right there "
                f"(`dvc push` from a machine with good data), then delete .dvc/cache and {out['path']} here"
            )
    if not path.exists():
        raise DataError(f"{source.path}: no such file in the data that {pointer.name} tracks")
    return path


def _whole(target: Path, expected: str, root: Path) -> bool:
    """Whether what was pulled is what was meant; files that DVC ignores may lie beside it."""
    if not target.exists() or version_of(target) == expected:
        return target.exists()
    listing = root / ".dvc" / "cache" / "files" / "md5" / expected[:2] / expected[2:]
    if target.is_file() or not listing.is_file() or md5_of(listing) + ".dir" != expected:
        return False
    files = json.loads(listing.read_text(encoding="utf-8"))
    return all(
        (target / f["relpath"]).is_file() and md5_of(target / f["relpath"]) == f["md5"]
        for f in files
    )


def fetch(version: str, to: Path, root: Path) -> Path:
    """An older version of the data by its MD5, from DVC's cache or its remote.

    Raises:
        DataError: neither holds it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            for kept in (repo.cache.local, repo.cloud.get_remote_odb()):
                if kept.exists(version):
                    kept.fs.get_file(kept.oid_to_path(version), str(to))
                    break
    except (DvcException, OSError) as error:
        raise UnreachableError(f"data version {version} cannot be fetched: {error}") from None
    if not to.is_file() or md5_of(to) != version:
        raise DataError(
            f"data version {version} lies neither in DVC's cache nor whole in its remote: it cannot be had again"
        )
    return to


class Unpushed(NamedTuple):
    """Objects of a `.dvc` file that the default remote lacks."""

    absent: set[str]
    lost: set[str]  # those of them that DVC's cache here lacks too
    named: bool  # the file's own are among them, not only what a folder's listing names


def unpushed(pointer: Path, root: Path) -> Unpushed:
    """What others could not pull of a `.dvc` file.

    Raises:
        UnreachableError: there is no remote, or it does not answer.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    named = {str(out["md5"]) for out in yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]}
    wanted = set(named)
    try:
        with Repo(str(root)) as repo:
            cache, remote = repo.cache.local, repo.cloud.get_remote_odb()
            for listing in [n for n in named if n.endswith(".dir")]:
                kept = next((odb for odb in (cache, remote) if odb.exists(listing)), None)
                if kept:
                    wanted |= {
                        f["md5"] for f in json.loads(kept.fs.cat_file(kept.oid_to_path(listing)))
                    }
            absent = wanted - set(remote.oids_exist(wanted))
            return Unpushed(absent, absent - set(cache.oids_exist(absent)), bool(named & absent))
    except (DvcException, OSError) as error:
        raise UnreachableError(
            f"what the remote holds of {pointer.name} cannot be told: {error}"
        ) from None


def push(objects: Iterable[str], root: Path) -> None:
    """Bring objects from DVC's cache into the default remote. `dvc push` looks no further than the listing of a folder:
    where that is in the remote, it takes every file of the folder to be there too.

    Raises:
        UnreachableError: the remote does not take them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    try:
        with Repo(str(root)) as repo:
            done = transfer(
                repo.cache.local, repo.cloud.get_remote_odb(), {HashInfo("md5", o) for o in objects}
            )
    except (DvcException, OSError) as error:
        raise UnreachableError(f"the remote cannot be written: {error}") from None
    if done.failed:
        raise UnreachableError(
            f"the remote did not take {len(done.failed)} of {len(set(objects))} objects"
        )


def _pointer(path: Path, root: Path) -> Path | None:
    """The `.dvc` file that tracks a path, or a folder above it."""
    for part in (path, *path.parents):
        if part == root:
            return None
        pointer = part.with_name(part.name + ".dvc")
        if pointer.is_file():
            return pointer
    return None


def _dvc_pull(pointer: Path, root: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    name = pointer.relative_to(root).as_posix()
    tracked = name.removesuffix(".dvc")
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            repo.pull(targets=[str(pointer)])
    except (DvcException, OSError) as error:
        said = " ".join(str(error).split())
        if "unsaved files" in said:
            raise DataError(
                f"{tracked}/ holds changes that DVC does not know, and they are not thrown away for you: "
                f"keep them with `dvc add {tracked}`, or drop them with `dvc checkout --force {name}`"
            ) from None
        raise UnreachableError(
            f"DVC cannot bring {tracked}: {said}; see `dvc remote list` and `dvc pull {name}`"
        ) from None


def _pinned(source: DataSpec, paths: ProjectPaths, data: Path | None) -> Path:
    if source.files:
        return _unpacked(source, paths, data)
    if source.md5 is None:
        raise DataError(
            "the recipe pins no md5 under data: state the file's there, and another file can stand in for it"
        )
    if source.url:
        kept = paths.home / "downloads" / source.md5 / (source.url.rsplit("/", 1)[-1] or "data")
        if (
            data is not None
            and data.is_file()
            and md5_of(data) == source.md5
            and not kept.is_file()
        ):
            with atomic_write(kept) as part:  # so that judge and reproduce find it later
                shutil.copyfile(data, part)
        if data is None and not kept.is_file():
            _download(source.url, kept, source.md5)
        data = data or kept
    elif data is None:
        data = paths.root / str(source.path)
    if not data.is_file():
        raise DataError(f"{data}: no such file")
    found = md5_of(data)
    if found != source.md5:
        raise DataError(
            f"{data} is not the file that the recipe pins: md5 {found}, not {source.md5}. "
            f"If the new file is meant, state its md5 under data in the recipe"
        )
    return data


def _unpacked(source: DataSpec, paths: ProjectPaths, data: Path | None) -> Path:
    """The folder of an archive's files: the one given, the recipe's own, or the one unpacked here, from the network if need
    be. In the first that is there every file has to be right."""
    own = os.path.expandvars(source.folder or "") or "$"
    kept = paths.home / "downloads" / str(source.md5) / "files"
    stated = Path(own).expanduser() if "$" not in own else None
    if data is not None and data.is_file():
        _unpack(_pinned_file(data, source), kept, source)
        return kept
    for folder in (data, stated, kept):
        if folder is not None and (folder is data or folder.is_dir()):
            _check_files(folder, source)
            return folder
    archive = kept.with_name("archive")
    if not archive.is_file():
        _download(str(source.url), archive, str(source.md5))
    _unpack(archive, kept, source)
    archive.unlink()
    return kept


def _pinned_file(data: Path, source: DataSpec) -> Path:
    if (found := md5_of(data)) != source.md5:
        raise DataError(
            f"{data} is not the archive that the recipe pins: md5 {found}, not {source.md5}: fetch it again"
        )
    return data


def _check_files(folder: Path, source: DataSpec) -> None:
    for name, expected in source.files.items():
        path = folder / name
        if not path.is_file() or md5_of(path) != expected:
            wrong = "is not the file that the recipe pins" if path.is_file() else "is missing"
            raise DataError(
                f"{path} {wrong} (md5 {expected} under data.files): put the whole {source.url} there, unpacked, or fetch it "
                "elsewhere and pass --data ARCHIVE"
            )


def _unpack(archive: Path, to: Path, source: DataSpec) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=to.parent))
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                name = PurePosixPath(member.name).name
                if (
                    member.isfile()
                    and name in source.files
                    and (content := packed.extractfile(member))
                ):
                    with (part / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
        _check_files(part, source)
        shutil.rmtree(to, ignore_errors=True)
        part.rename(to)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked into {to}: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(url: str, to: Path, expected: str) -> None:
    if not url.startswith(("https://", "http://", "file://")):
        raise DataError(f"{url}: only https, http and file URLs are downloaded")
    try:
        with atomic_write(to) as part:
            with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file)
            whole = int(answer.headers.get("Content-Length") or -1)
            if 0 <= part.stat().st_size < whole:
                raise URLError(f"{part.stat().st_size} of {whole} bytes came")
            if md5_of(part) != expected:
                raise DataError(
                    f"{url} no longer gives the file that the recipe pins (md5 {md5_of(part)})"
                )
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        gone = (isinstance(error, HTTPError) and error.code < 500) or url.startswith("file:")
        raise (DataError if gone else UnreachableError)(
            f"{url} cannot be downloaded ({reason}); fetch it elsewhere and pass --data FILE: its md5 is checked all the same"
        ) from None
