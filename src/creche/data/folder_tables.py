"""The tables in a folder, or below the fixed beginning of a glob, and what is skipped there."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from creche.contract.cells import is_utf8
from creche.contract.reading import DEFAULT_READING, Reading
from creche.data.file_formats import FORMATS, FormatError
from creche.data.folder_content import FolderContent, check_no_lake_table, is_document
from creche.data.table_source import (
    IMAGE_SUFFIXES,
    LOCAL,
    TableSource,
    collection_in,
    file_source,
    hive_keys,
    images_source,
)
from creche.errors import DataError, listed

SHOWN_FILES = 5  # that a message names
MAX_ENTRY_LENGTH = 1000  # characters of a file's path and what is wrong with it


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not read, since it holds no observations."""

    name: str
    kind: str


@dataclass
class SkippedFiles:
    """The files below folders and globs that are not read."""

    named: list[SkippedFile] = field(default_factory=list)
    hidden: int = 0  # hidden and marker files, which are only counted


@dataclass
class Inputs:
    """What the arguments of a scoring name."""

    sources: list[TableSource] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)


@dataclass(frozen=True)
class Folder:
    """A folder, or the fixed beginning of a glob, that an argument names."""

    argument: str
    name: str  # in messages and manifests
    path: str  # on `system`
    system: Any
    is_pattern: bool = False  # whether the argument is a glob
    reading: Reading = DEFAULT_READING
    # What to do with files that cannot be read.
    way_out: str = "mend or move them, or name the files to score by a glob"

    def file_name(self, relative: str) -> str:
        if self.system is LOCAL:
            return str(PurePosixPath(self.name) / relative)
        return f"{self.name}/{relative}"

    def file_path(self, relative: str) -> str:
        path = f"{self.path}/{relative}"
        return str(Path(path).resolve()) if self.system is LOCAL else path


def check_utf8(name: str) -> None:
    """Check that a name is text.

    Raises:
        DataError: it is not.
    """
    if not is_utf8(name):
        raise DataError(f"the name of {name!r} is not UTF-8: rename it")


def add_tables(folder: Folder, content: FolderContent, inputs: Inputs) -> None:
    """Add the tables in a folder, and what is skipped there.

    Raises:
        DataError: there is no table, or a file that may hold observations cannot be read.
    """
    check_no_lake_table(content, folder.argument)
    for relative in content.files:
        check_utf8(relative)
    problems = dict(content.unreadable)
    collection = collection_in(
        folder.argument, folder.name, folder.path, folder.system, content.files
    )
    sources = [collection] if collection is not None else _sources(folder, content, problems)
    _check_readable(folder, problems)
    if not sources:
        hidden = f"; {len(content.hidden):,} hidden or marker files" if content.hidden else ""
        known = ", ".join((*FORMATS, *IMAGE_SUFFIXES))
        raise DataError(f"{folder.argument}: no file of observations there ({known}){hidden}")
    inputs.sources += sources
    _add_skipped(folder, content, sources, inputs.skipped)


def _sources(folder: Folder, content: FolderContent, problems: dict[str, str]) -> list[TableSource]:
    """Return the files that can be read, or one table of them where they are images.

    Args:
        problems: gets what is wrong with each of the others.

    Raises:
        DataError: there are images and tables.
    """
    sources = []
    for relative in content.files:
        if is_document(relative) and relative not in content.meant:
            continue
        name = folder.file_name(relative)
        path = folder.file_path(relative)
        try:
            keys = hive_keys(relative)
            source = file_source(name, path, folder.system, relative, keys, folder.reading)
        except FormatError as error:
            problems[relative] = str(error)
            continue
        sources.append(source)
    images = [source for source in sources if source.file_format.name == "image"]
    if not images:
        return sources
    tables = [source for source in sources if source.file_format.name != "image"]
    if tables:
        raise DataError(
            f"{folder.argument} holds images and tables, as {images[0].relative} and "
            f"{tables[0].relative}: name those meant by a glob"
        )
    return [images_source(folder.name, folder.path, folder.system, content.files)]


def _add_skipped(
    folder: Folder, content: FolderContent, sources: list[TableSource], skipped: SkippedFiles
) -> None:
    """Note the files of a folder that are in none of its sources."""
    skipped.hidden += len(content.hidden)
    for relative in content.loops:
        skipped.named.append(SkippedFile(folder.file_name(relative), "a link to a folder above it"))
    read_files: set[str] = set()
    for source in sources:
        read_files.update(source.files or [source.relative])
    for relative in content.files:
        if relative not in read_files:
            skipped.named.append(SkippedFile(folder.file_name(relative), "no file of observations"))


def _check_readable(folder: Folder, problems: dict[str, str]) -> None:
    if not problems:
        return
    files = []
    for relative, problem in problems.items():
        files.append(f"{folder.file_name(relative)} ({problem})")
    shown = listed(files, SHOWN_FILES, MAX_ENTRY_LENGTH)
    if folder.is_pattern:
        raise DataError(
            f"{folder.argument} matches files that cannot be read: {shown}; mend or move them, or "
            "name a glob that matches only the files to score"
        )
    raise DataError(f"{folder.argument} holds files that cannot be read: {shown}; {folder.way_out}")
