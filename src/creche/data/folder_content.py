"""What lies below a folder: files to read, hidden and marker files, documents, and what cannot be
read.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from creche.errors import DataError

MARKER_NAMES = frozenset({"thumbs.db", "desktop.ini", "md5sums", "sha256sums"})
HADOOP_FOLDER = "_$folder$"  # suffix of the objects that stand for folders in object stores
MARKER_SUFFIXES = frozenset({".crc", ".md5", ".sha1", ".sha256", ".sha512", ".dvc"})
DOCUMENT_NAMES = frozenset(
    {
        "authors",
        "changelog",
        "citation",
        "contributing",
        "copying",
        "dockerfile",
        "licence",
        "license",
        "makefile",
        "notice",
        "readme",
        "version",
    }
)
DOCUMENT_SUFFIXES = frozenset(
    {
        ".bak",
        ".cfg",
        ".doc",
        ".docx",
        ".htm",
        ".html",
        ".ini",
        ".ipynb",
        ".log",
        ".md",
        ".orig",
        ".pdf",
        ".py",
        ".r",
        ".rst",
        ".sh",
        ".sql",
        ".tex",
        ".tmp",
        ".toml",
        ".xml",
        ".yaml",
        ".yml",
    }
)
DELTA_TABLE = "a Delta Lake table"
# Where one of these lies in a folder, a log says which of its files are the table.
LAKE_TABLES = (
    (re.compile(r"(^|/)_delta_log(/|$)"), DELTA_TABLE),
    (re.compile(r"(^|/)\.hoodie(/|$)"), "an Apache Hudi table"),
    (re.compile(r"(^|/)metadata/[^/]*\.metadata\.json$"), "an Apache Iceberg table"),
    (re.compile(r"(^|/)_spark_metadata(/|$)"), "the output of a Spark stream"),
    (
        re.compile(r"(^|/)(base_\d+|(delete_)?delta_\d+_\d+(_\d+)?)(/|$)"),
        "a transactional Hive table",
    ),
)

_Identity = tuple[int, int]  # device and inode


@dataclass
class FolderContent:
    """The entries below a folder, by their paths relative to it.

    Attributes:
        files: regular files that are neither hidden nor markers.
        hidden: hidden and marker files, and hidden folders, which are not entered.
        loops: links to a folder above themselves, whose files are listed there.
        unreadable: what is neither a file nor a folder → why it cannot be read.
        meant: files that are read whatever they are called, since a pattern names their suffix.
    """

    files: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    meant: set[str] = field(default_factory=set)

    def add_file(self, relative: str) -> None:
        """Add a regular file."""
        is_skipped = is_hidden(relative) or is_marker(relative)
        (self.hidden if is_skipped else self.files).append(relative)

    def add_matched_file(self, relative: str, pattern: str) -> None:
        """Add a regular file that a pattern matches.

        A pattern that states a beginning or a suffix names the files that have it.
        """
        names_suffix = not pattern.endswith("*")
        if names_suffix:
            self.meant.add(relative)
        is_skipped = is_hidden(relative) and not is_hidden(pattern)
        if is_skipped or (is_marker(relative) and not names_suffix):
            self.hidden.append(relative)
        else:
            self.files.append(relative)

    def add_unreadable(self, relative: str, *, is_link: bool) -> None:
        """Add what is neither a file nor a folder, as a named pipe or a link to nothing."""
        kind = "a link to a file that does not exist" if is_link else "no regular file"
        self.unreadable[relative] = kind

    def extend_below(self, folder: str, content: "FolderContent") -> None:
        """Add what lies below a folder."""
        self.files += _below(folder, content.files)
        self.hidden += _below(folder, content.hidden)
        self.loops += _below(folder, content.loops)
        for relative, kind in content.unreadable.items():
            self.unreadable[str(PurePosixPath(folder) / relative)] = kind

    def sort(self) -> None:
        """Sort the entries; a pattern may match a folder and one in it, whose entries are then
        there twice.
        """
        self.files = sorted(set(self.files))
        self.hidden = sorted(set(self.hidden))
        self.loops = sorted(set(self.loops))


def list_folder(folder: Path, top: Path | None = None) -> FolderContent:
    """Return what lies below a local folder; links to folders are followed.

    Args:
        top: folder above it, links to which, and to those between, are loops.

    Raises:
        DataError: a folder cannot be listed.
    """
    above = set()
    if top is not None and top != folder:
        between = folder.relative_to(top).parents
        above = {_identity(str(top / part)) for part in between}
    walk = _Walk()
    walk.enter(str(folder), "", frozenset(above))
    walk.content.sort()
    return walk.content


def _below(folder: str, names: list[str]) -> list[str]:
    return [str(PurePosixPath(folder) / name) for name in names]


def _identity(folder: str) -> _Identity:
    status = os.stat(folder)  # noqa: PTH116 - a Path takes ten times as long
    return status.st_dev, status.st_ino


@dataclass
class _Walk:
    """One pass over a folder and those below it."""

    content: FolderContent = field(default_factory=FolderContent)
    entered: dict[_Identity, str] = field(default_factory=dict)  # folder → its path

    def enter(self, folder: str, prefix: str, above: frozenset[_Identity]) -> None:
        """List a folder.

        Args:
            prefix: path of its entries relative to the first folder.
            above: the folders that it lies in.
        """
        try:
            identity = _identity(folder)
            if identity in above:
                self.content.loops.append(prefix.rstrip("/"))
                return
            other = self.entered.setdefault(identity, folder)
            if other != folder:
                raise DataError(
                    f"{folder} is the same folder as {other}, and so named twice: its rows would "
                    "be scored twice"
                )
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._add(entry, prefix + entry.name, above | {identity})
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}") from None

    def _add(self, entry: "os.DirEntry[str]", relative: str, above: frozenset[_Identity]) -> None:
        if entry.is_file():
            self.content.add_file(relative)
        elif is_hidden(entry.name):
            self.content.hidden.append(relative)
        elif entry.is_dir():
            self.enter(entry.path, f"{relative}/", above)
        else:
            self.content.add_unreadable(relative, is_link=entry.is_symlink())


def check_no_lake_table(content: FolderContent, argument: str) -> None:
    """Check that no log decides which of the files are the table.

    Raises:
        DataError: one does: rows that it has deleted would be read again.
    """
    for pattern, kind in LAKE_TABLES:
        for relative in (*content.hidden, *content.files):
            if pattern.search(relative):
                # A folder that is a Delta Lake table itself is no case of this.
                advice = "name that folder itself, " if kind == DELTA_TABLE else ""
                raise DataError(
                    f"{argument} holds {kind} ({relative}), whose log states which of its files "
                    f"and rows are current, and that log is not read here: {advice}export the "
                    "current version as Parquet, or name the files by a glob, as *.parquet"
                )


def is_hidden(relative: str) -> bool:
    """Whether a file or a folder above it is hidden: its name begins with a dot or an underscore.

    The folder of a Hive partition, as `_day=1`, is not hidden.
    """
    for part in relative.split("/"):
        if part == ".":
            continue
        if part.startswith(".") or (part.startswith("_") and "=" not in part):
            return True
    return False


def is_marker(relative: str) -> bool:
    """Whether a file is named as one that states something of the files beside it."""
    name = PurePosixPath(relative).name.lower()
    has_marker_suffix = PurePosixPath(name).suffix in MARKER_SUFFIXES
    return name in MARKER_NAMES or has_marker_suffix or name.endswith(HADOOP_FOLDER)


def is_document(relative: str) -> bool:
    """Whether a file is named as a document, a program or a backup, and not as data."""
    name = PurePosixPath(relative).name.lower()
    stem, _, suffix = name.partition(".")
    is_named_document = stem in DOCUMENT_NAMES and suffix in ("", "txt")
    return (
        is_named_document or name.endswith("~") or PurePosixPath(name).suffix in DOCUMENT_SUFFIXES
    )
