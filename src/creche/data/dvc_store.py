"""Data that DVC tracks: pulled, checked, pushed. Besides `dvc_fetch` and `dvc_ignore`, the only
module that imports the library.

DVC pulls a corrupt object of a remote with exit code 0. The MD5s that the `.dvc` file states are
therefore checked by this module: before a pull, so that complete data cost no import of dvc, and
after it.
"""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

from creche.data.dvc_fetch import FOLDER, ListedFile, NoRemoteError, ObjectStore
from creche.data.dvc_ignore import tracked_version
from creche.errors import DataError, UnreachableError
from creche.provenance import md5_of


class TrackedOutput(NamedTuple):
    """A file or folder that a `.dvc` file tracks."""

    path: Path
    version: str  # MD5, of a folder with `.dir`
    name: str  # as the `.dvc` file states it


class MissingObjects(NamedTuple):
    """Objects of a `.dvc` file that the default remote lacks."""

    absent: set[str]
    lost: set[str]  # those of them that this machine's DVC cache lacks too
    own: bool  # the file's own are among them, not only the files in a folder's listing


def pull_tracked(path: Path, name: str, root: Path) -> Path:
    """Return a file or folder that DVC tracks, pulled where it is missing, its bytes checked.

    Args:
        name: its path in the recipe.

    Raises:
        DataError: DVC does not track it, neither cache nor remote has it whole, or its bytes are
            not the ones that the `.dvc` file states.
        UnreachableError: the remote does not respond.
    """
    pointer = find_pointer(path, root)
    if pointer is None:
        raise DataError(_not_tracked(path, name, root))
    output = _read_pointer(pointer)
    if not _is_tracked_version(output, root):
        _pull(pointer, root)
        if not _is_tracked_version(output, root):
            raise DataError(_damage(output, pointer, root))
    if not path.exists():
        raise DataError(f"{name}: no such file in the data that {pointer.name} tracks")
    return path


def _not_tracked(path: Path, name: str, root: Path) -> str:
    """Return what is wrong with data that no `.dvc` file states, and the commands that mend it."""
    if not path.exists():
        return (
            f"{name}: no such file, and no .dvc file from which it could be pulled: correct "
            "data.path in the recipe"
        )
    commands = [f"dvc add {name}"]
    if not (root / ".dvc").is_dir():
        commands.insert(0, "dvc init")
        if not (root / ".git").exists():
            commands.insert(0, "git init")
    remedy = f"run `{' && '.join(commands)}`"
    remedy += f", or state `md5: {tracked_version(path, root)}` under data in the recipe"
    return f"{name} is neither tracked by DVC nor pinned: {remedy}"


def track(path: Path, root: Path) -> None:
    """Track a file or folder with DVC, as `dvc add` does.

    Raises:
        DataError: DVC refuses it, or cannot write.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    name = path.relative_to(root).as_posix()
    try:
        with warnings.catch_warnings(), Repo(str(root), _wait_for_lock=True) as repo:
            # DVC still calls what pygtrie, which it uses, will remove.
            warnings.simplefilter("ignore", DeprecationWarning)
            repo.add(str(path))
    except (DvcException, SCMError, OSError) as error:
        message = " ".join(str(error).split())
        raise DataError(
            f"DVC cannot track {name}: {message}; mend that, and run `dvc add {name}`"
        ) from None


def find_pointer(path: Path, root: Path) -> Path | None:
    """Return the `.dvc` file that tracks a path, or a folder above it."""
    for part in (path, *path.parents):
        if part == root:
            return None
        pointer = part.with_name(part.name + ".dvc")
        if pointer.is_file():
            return pointer
    return None


def _read_pointer(pointer: Path) -> TrackedOutput:
    try:
        output = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
        return TrackedOutput(pointer.parent / output["path"], str(output["md5"]), output["path"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise DataError(
            f"{pointer.name} is no DVC file that can be read: restore it with "
            f"`git checkout {pointer.name}`"
        ) from None


def _is_tracked_version(output: TrackedOutput, root: Path) -> bool:
    return output.path.exists() and tracked_version(output.path, root) == output.version


def _damage(output: TrackedOutput, pointer: Path, root: Path) -> str:
    """Return what is wrong with data that DVC says it has pulled, and what to do.

    Nothing of it is to be deleted: a damaged object may be the only copy of the data.
    """
    from dvc.repo import Repo

    name = output.path.relative_to(root).as_posix()
    pointer_name = pointer.relative_to(root).as_posix()
    message = (
        f"{name} was pulled, but its bytes are not the ones that {pointer_name} states "
        f"({output.version})"
    )
    with Repo(str(root)) as repo:
        cache: ObjectStore = repo.cache.local
        for oid in sorted({output.version} | _objects_in_listing(output.version, (cache,))):
            path = Path(cache.oid_to_path(oid))
            if path.is_file() and md5_of(path) != oid.removesuffix(FOLDER):
                return (
                    f"{message}: {path} is damaged, and so may be the remote's copy. Move it aside "
                    f"(`mv {path} {path}.damaged`), run `dvc push` on a machine with good data, "
                    f"and `dvc pull {pointer_name}` here"
                )
    return (
        f"{message}: other files lie in it, or some are missing. Move it aside (`mv {name} "
        f"{name}.before`) and run `dvc checkout {pointer_name}`"
    )


def _pull(pointer: Path, root: Path) -> None:
    from dvc.config import ConfigError
    from dvc.exceptions import CheckoutError, DvcException
    from dvc.scm import SCMError

    name = pointer.relative_to(root).as_posix()
    tracked = name.removesuffix(".dvc")
    try:
        try:
            _run_pull(pointer, root)
        except CheckoutError:
            _check_remote_exists(tracked, root)
            # A remote that came back within the pull was not asked again for what it could not
            # give before; a second pull asks for all of it.
            _run_pull(pointer, root)
    except SCMError as error:
        raise DataError(
            f"DVC cannot pull {tracked}: {error}; clone the project with git, or set `no_scm = "
            "true` under [core] in .dvc/config"
        ) from None
    except (DvcException, OSError) as error:
        message = " ".join(str(error).split())
        if "unsaved files" in message:
            raise DataError(
                f"{tracked}/ holds changes that DVC does not know, and they are not discarded for "
                f"you: keep them with `dvc add {tracked}`, or move them aside (`mv {tracked} "
                f"{tracked}.changed`) and run `dvc checkout {name}`"
            ) from None
        # Where the remote has responded, and an object was not in it or was damaged, DVC fails at
        # the checkout, and would again.
        is_final = isinstance(error, CheckoutError | ConfigError)
        error_type = DataError if is_final else UnreachableError
        raise error_type(
            f"DVC cannot pull {tracked}: {message}; see `dvc remote list` and `dvc pull {name}`"
        ) from None


def _run_pull(pointer: Path, root: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(root), _wait_for_lock=True) as repo:
        repo.pull(targets=[str(pointer)])


def _check_remote_exists(tracked: str, root: Path) -> None:
    """Check that the folder of the default remote is there.

    DVC takes a folder that is away, as one on a disk that is not mounted, for an empty remote.

    Raises:
        UnreachableError: it is not there.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        remote = repo.cloud.get_remote_odb()
        is_there = remote.fs.exists(remote.path)
        path = remote.path
    if not is_there:
        raise UnreachableError(
            f"DVC cannot pull {tracked}: its remote {path} does not exist: mount or restore it, or "
            "run `dvc push` on a machine with the data"
        )


def missing_in_remote(pointer: Path, root: Path) -> MissingObjects:
    """Return the objects of a `.dvc` file that another machine could not pull.

    Raises:
        NoRemoteError: there is no default remote.
        UnreachableError: the remote does not respond.
    """
    from dvc import config
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    outputs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
    own = {str(output["md5"]) for output in outputs}
    required = set(own)
    try:
        with Repo(str(root)) as repo:
            cache = repo.cache.local
            remote = repo.cloud.get_remote_odb()
            for md5 in own:
                if md5.endswith(FOLDER):
                    required |= _objects_in_listing(md5, (cache, remote))
            absent = required - set(remote.oids_exist(required))
            lost = absent - set(cache.oids_exist(absent))
            return MissingObjects(absent, lost, bool(own & absent))
    except config.NoRemoteError:
        raise NoRemoteError(
            f"no other machine can pull what {pointer.name} tracks, for no DVC remote is configured"
        ) from None
    except (DvcException, OSError) as error:
        raise UnreachableError(
            f"what the remote holds of {pointer.name} cannot be determined: {error}"
        ) from None


def _objects_in_listing(md5: str, stores: Iterable[ObjectStore]) -> set[str]:
    """Return the MD5s of a folder's files, from the first store that has its listing."""
    if not md5.endswith(FOLDER):
        return set()
    for store in stores:
        if store.exists(md5):
            listing: list[ListedFile] = json.loads(store.fs.cat_file(store.oid_to_path(md5)))
            return {file["md5"] for file in listing}
    return set()


def push_objects(objects: Iterable[str], root: Path) -> None:
    """Push objects from DVC's cache to the default remote, one by one.

    `dvc push` stops at the listing of a folder: where the remote has that, it assumes that every
    file of the folder is in the remote too.

    Raises:
        UnreachableError: the remote does not take them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    hashes = {HashInfo("md5", md5) for md5 in objects}
    try:
        with Repo(str(root)) as repo:
            result = transfer(repo.cache.local, repo.cloud.get_remote_odb(), hashes)
    except (DvcException, OSError) as error:
        raise UnreachableError(f"the remote cannot be written: {error}") from None
    if result.failed:
        raise UnreachableError(
            f"the remote did not take {len(result.failed)} of {len(hashes)} objects"
        )
