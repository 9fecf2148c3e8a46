"""Which files of a folder DVC tracks: not those that `.dvcignore` names, and none in a folder that
a link leads to.

Besides `dvc_store` and `dvc_fetch`, the only module that imports the library, and only where a
`.dvcignore` has patterns.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from creche.errors import DataError
from creche.provenance import md5_of, version_of_listing

IGNORE_FILE = ".dvcignore"

IsIgnored = Callable[[str, str, bool], bool]  # folder, name in it, whether it is a folder


@dataclass(frozen=True)
class TrackedFolder:
    """A folder as DVC sees it.

    Attributes:
        md5s: file below the folder → MD5, sorted.
        has_others: whether other files lie in it, which DVC does not track.
    """

    md5s: dict[str, str]
    has_others: bool

    @property
    def version(self) -> str:
        """The version by which DVC names the folder."""
        return version_of_listing(self.md5s)


def tracked_version(target: Path, root: Path) -> str:
    """Return the version of a file or folder, by which DVC names it.

    Args:
        root: of the DVC project, whose `.dvcignore` files count.
    """
    return md5_of(target) if target.is_file() else tracked_folder(target, root).version


def tracked_folder(folder: Path, root: Path) -> TrackedFolder:
    """Return a folder as DVC sees it.

    Raises:
        DataError: a folder in it cannot be listed, or a `.dvcignore` counts and DVC is not
            installed.
    """
    top = folder.absolute()
    is_ignored = _ignore_rule(top, root.absolute())
    files = []
    has_others = False
    for base, folder_names, file_names in os.walk(top, onerror=_refuse):
        for name in list(folder_names):
            # As DVC does, this does not follow links to folders.
            if Path(base, name).is_symlink() or is_ignored(base, name, True):
                folder_names.remove(name)
                has_others = True
        for name in file_names:
            path = Path(base, name)
            if is_ignored(base, name, False):
                has_others = True
            elif path.is_file():
                files.append(path.relative_to(top).as_posix())
    md5s = {file: md5_of(top / file) for file in sorted(files)}
    return TrackedFolder(md5s, has_others)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be listed: {error.strerror}; make it readable"
    ) from None


def _ignore_rule(folder: Path, root: Path) -> IsIgnored:
    """Return the rule of the `.dvcignore` files between the project and a folder."""
    ignore_files = _ignore_files(folder, root)
    if not ignore_files:
        return _nothing
    try:
        from dvc.fs import localfs
        from dvc.ignore import DvcIgnorePatterns
        from dvc.pathspec_math import merge_patterns
    except ModuleNotFoundError:
        raise DataError(
            f"{ignore_files[0]} has patterns, which only the package dvc can apply: run "
            "`pip install 'creche[pipeline]'`"
        ) from None
    patterns = DvcIgnorePatterns([], str(root), os.sep)
    for path in ignore_files:
        own = DvcIgnorePatterns.from_file(str(path), localfs, path.name)
        merged, prefix = merge_patterns(
            localfs.flavour,
            patterns.pattern_list,
            patterns.dirname,
            own.pattern_list,
            own.dirname,
        )
        patterns = DvcIgnorePatterns(merged, prefix, os.sep)

    def is_ignored(base: str, name: str, is_folder: bool) -> bool:
        return bool(patterns.matches(base, name, is_folder))

    return is_ignored


def _nothing(_base: str, _name: str, _is_folder: bool) -> bool:
    return False


def _ignore_files(folder: Path, root: Path) -> list[Path]:
    """Return the `.dvcignore` files with patterns, from the project's downwards."""
    if not folder.is_relative_to(root):
        return []
    files = []
    for parent in reversed((folder, *folder.parents)):
        path = parent / IGNORE_FILE
        if parent.is_relative_to(root) and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            if any(line.strip() and not line.strip().startswith("#") for line in lines):
                files.append(path)
    return files
