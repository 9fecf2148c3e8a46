"""Fetch older versions of data that DVC tracks."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypedDict

from creche.errors import DataError, UnreachableError
from creche.provenance import md5_of

FOLDER = ".dir"  # suffix of the version of a folder


class ListedFile(TypedDict):
    """An entry in DVC's listing of a folder."""

    md5: str
    relpath: str


class ObjectStore(Protocol):
    """The part of DVC's object database that is used of cache and remote alike."""

    fs: Any

    def exists(self, oid: str) -> bool: ...

    def oid_to_path(self, oid: str) -> str: ...


class NoRemoteError(DataError):
    """The project has no default DVC remote."""


def fetch_version(version: str, to: Path, root: Path) -> Path:
    """Fetch an older version of the data by its MD5, from DVC's cache or its remote.

    Args:
        version: of a file, or of a folder with `.dir`.
        to: where it is written.

    Raises:
        DataError: neither holds it, there is no remote, or its settings are wrong.
        UnreachableError: the remote does not respond.
    """
    with ExitStack() as opened:
        with _reported(version):
            repo = opened.enter_context(_open_repo(root))
        stores = [lambda: repo.cache.local, lambda: repo.cloud.get_remote_odb()]
        if not version.endswith(FOLDER):
            _fetch_object(version, to, stores)
            return to
        listing = to.with_name(f"{to.name}.listing")
        _fetch_object(version, listing, stores)
        files: list[ListedFile] = json.loads(listing.read_bytes())
        for file in files:
            path = to / file["relpath"]
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch_object(file["md5"], path, stores)
    return to


def _open_repo(root: Path) -> Any:
    from dvc.repo import Repo

    return Repo(str(root), _wait_for_lock=True)


@contextmanager
def _reported(version: str) -> Iterator[None]:
    """Raise an error of DVC, or of one of its stores, as one of creche."""
    from dvc import config
    from dvc.exceptions import DvcException, NotDvcRepoError

    try:
        yield
    except config.NoRemoteError:
        raise NoRemoteError(
            f"data version {version} is not in DVC's cache, and no DVC remote is configured: add "
            "the one that has it with `dvc remote add --default NAME URL`"
        ) from None
    except (config.ConfigError, NotDvcRepoError) as error:
        message = " ".join(str(error).split())
        raise DataError(
            f"data version {version} cannot be fetched: {message}; see `dvc config --list`"
        ) from None
    except (DvcException, OSError) as error:
        raise UnreachableError(f"data version {version} cannot be fetched: {error}") from None


def _fetch_object(oid: str, to: Path, stores: list[Callable[[], ObjectStore]]) -> None:
    """Write an object of the first store that has it whole.

    Raises:
        DataError: none has it.
        UnreachableError: the remote does not respond.
    """
    for open_store in stores:
        with _reported(oid):
            store = open_store()
            is_there = store.exists(oid)
            if is_there:
                store.fs.get_file(store.oid_to_path(oid), str(to))
        if is_there and md5_of(to) == oid.removesuffix(FOLDER):
            return
    raise DataError(
        f"data version {oid} is neither in DVC's cache nor complete in its remote: it cannot be "
        "restored"
    )
