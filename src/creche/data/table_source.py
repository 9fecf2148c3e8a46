"""One table to read: a file, or the files of a folder that are one table together."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs

from creche.contract.cells import is_utf8
from creche.contract.reading import DEFAULT_READING, Reading
from creche.data.file_formats import (
    CSV,
    FileFormat,
    FormatError,
    format_by_signature,
    format_by_suffix,
    known_suffixes,
    open_decompressed,
    read_start,
    recognize,
)
from creche.data.folder_content import is_hidden, list_folder
from creche.data.remote_files import remote_change
from creche.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
CIFAR_FILE = re.compile(r"(data_batch_\d+|test_batch)\.bin")
CHUNK_BYTES = 4 << 20
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
SMALL_BYTES = 128 << 10  # threads do not pay for a smaller file
SMALL_FILES = 8  # of a collection
LOCAL = pa.fs.LocalFileSystem()


@dataclass(frozen=True)
class TableSource:
    """One file of observations, or a folder of which some files are one table."""

    name: str  # in messages and manifests: the argument, or the path below it
    path: str  # on `system`
    system: Any = field(repr=False)  # a pyarrow FileSystem
    relative: str = ""  # path below the folder or glob of the argument, suffixes included
    keys: dict[str, str | None] = field(default_factory=dict)  # Hive partition keys of its path
    # What `files` are one table of.
    collection: Literal["images", "cifar", "tables", "delta"] | None = None
    files: tuple[str, ...] = field(default=(), repr=False)  # below `path`, in order
    file_format: FileFormat = CSV  # of one file
    reading: Reading = DEFAULT_READING
    parts: tuple["TableSource", ...] = field(default=(), repr=False)  # of a collection of tables
    delta_version: int | None = None  # of a Delta Lake table

    @classmethod
    def local(
        cls, path: Path, name: str | None = None, reading: Reading = DEFAULT_READING
    ) -> "TableSource":
        """Return one local file, or a folder of images or of CIFAR-10 batches.

        Args:
            name: in messages and manifests; by default the path.
            reading: how the file is read, where it does not tell itself.

        Raises:
            DataError: there is no such file, or the folder is of another kind.
        """
        name = name or str(path)
        if path.is_dir():
            files = list_folder(path).files
            source = collection_in(name, name, str(path.resolve()), LOCAL, files)
            if source is None:
                raise DataError(f"{name} is a folder without images: name a file")
            return source
        if not path.is_file():
            if path.is_symlink():
                raise DataError(f"{name} is a link to a file that does not exist: name another")
            if path.exists():
                raise DataError(f"{name} is no regular file: write it to one, and name that")
            raise DataError(f"{name}: no such file")
        return single_file(name, str(path.resolve()), LOCAL, reading)

    @property
    def format(self) -> str:
        """csv, parquet, json, arrow, orc or workbook; the kind of collection of several files."""
        return self.collection or self.file_format.name

    @property
    def stem(self) -> str:
        """`relative` without the suffixes of a format: the predictions get this name."""
        if self.collection:
            return self.relative
        return self.relative.removesuffix("".join(known_suffixes(self.relative)))

    @property
    def file_paths(self) -> list[str]:
        """The path of every file."""
        if not self.files:
            return [self.path]
        return [f"{self.path}/{file}" for file in self.files]

    def size(self) -> int:
        """Return the size in bytes."""
        return sum(int(info.size or 0) for info in self._file_infos())

    @cached_property
    def is_small(self) -> bool:
        """Whether threads do not pay for it."""
        return len(self.files) <= SMALL_FILES and self.size() < SMALL_BYTES

    def stamp(self) -> list[int]:
        """Return a fingerprint of size and change, which must not change during a read.

        Returns:
            Bytes and change of one file; the number and a digest of several. The change is the time
            in ns since the epoch, or a digest of the version that a remote file has, or 0.
        """
        stamps = []
        for info in self._file_infos():
            stamps.append([int(info.size or 0), self._change(info)])
        if len(stamps) == 1:
            return stamps[0]
        by_file = list(zip(self.files, stamps, strict=True))
        digest = hashlib.sha256(repr(by_file).encode()).hexdigest()
        return [len(stamps), int(digest[:15], 16)]

    def shows_changes(self) -> bool:
        """Whether the stamp is another one after a file was overwritten by one of its size."""
        return all(self._change(info) for info in self._file_infos())

    def _change(self, info: Any) -> int:
        return int(info.mtime_ns or 0) or remote_change(self.system, info.path)

    def _file_infos(self) -> list[Any]:
        infos: list[Any] = self.system.get_file_info(self.file_paths)
        for info in infos:
            if info.type != pa.fs.FileType.File:
                raise DataError(f"{info.path if self.collection else self.name}: no such file")
        return infos

    @contextmanager
    def open_stream(self) -> Iterator[Any]:
        """Open the bytes in order, decompressed, text as UTF-8."""
        with open_decompressed(self.system, self.path, self.file_format.compression) as stream:
            if self.file_format.encoding == "utf-8":
                yield stream
                return
            yield pa.transcoding_input_stream(stream, self.file_format.encoding, "utf-8")

    @contextmanager
    def open_file(self, file_path: str | None = None) -> Iterator[Any]:
        """Open the bytes in any order; of several files, those of the one at `file_path`."""
        with self.system.open_input_file(file_path or self.path) as file:
            yield file

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes; of several files over the names and digests of all."""
        if not self.collection:
            return self._sha256(self.path)
        digest = hashlib.sha256()
        for file, file_path in sorted(zip(self.files, self.file_paths, strict=True)):
            digest.update(f"{file}\0{self._sha256(file_path)}\n".encode())
        return digest.hexdigest()

    def _sha256(self, file_path: str) -> str:
        digest = hashlib.sha256()
        with self.system.open_input_stream(file_path, compression=None) as stream:
            chunk = stream.read(CHUNK_BYTES)
            while chunk:
                digest.update(chunk)
                chunk = stream.read(CHUNK_BYTES)
        return digest.hexdigest()


@dataclass(frozen=True)
class MemorySource(TableSource):
    """An Arrow table in memory."""

    table: pa.Table = field(kw_only=True, repr=False)

    @classmethod
    def of(cls, table: pa.Table, name: str) -> "MemorySource":
        """Return a table as a source.

        Args:
            name: of the table in messages.
        """
        return cls(name, name, LOCAL, table=table)

    @property
    def format(self) -> str:
        return "memory"

    def size(self) -> int:
        """Return the size in bytes; a table without rows has its header."""
        return max(int(self.table.nbytes), int(self.table.num_columns))


def collection_in(
    argument: str, name: str, path: str, system: Any, files: list[str]
) -> TableSource | None:
    """Return the table that these files below `path` form together, None where they form none.

    An image among them makes each file a row, so that a damaged image is quarantined, and not
    overlooked.

    Raises:
        DataError: the folder holds both images and tables.
    """
    visible = [file for file in files if not is_hidden(file)]
    images = [file for file in visible if is_image_file(file)]
    cifar_files = [file for file in visible if CIFAR_FILE.fullmatch(file.rpartition("/")[2])]
    if not images and not cifar_files:
        return None
    # A text file beside images may be a note.
    tables = [file for file in visible if is_table(file) and not file.lower().endswith(".txt")]
    first = (images or cifar_files)[0]
    if tables or (images and cifar_files):
        other = (tables or cifar_files)[0]
        raise DataError(
            f"{argument} holds images and tables, as {first} and {other}: name those meant by a "
            "glob"
        )
    if images:
        return images_source(name, path, system, visible)
    # The test batch comes last.
    folder_name = PurePosixPath(path).name
    in_order = tuple(sorted(cifar_files))
    return TableSource(argument, path, system, folder_name, {}, "cifar", in_order)


def images_source(name: str, path: str, system: Any, files: list[str]) -> TableSource:
    """Return the table of images below a folder.

    Raises:
        DataError: a name is not UTF-8.
    """
    for file in files:
        if not is_utf8(file):
            raise DataError(f"{name}: the name of {file!r} is not UTF-8: rename it")
    folder_name = PurePosixPath(path).name
    return TableSource(name, path, system, folder_name, {}, "images", tuple(sorted(files)))


def single_file(
    name: str, path: str, system: Any, reading: Reading = DEFAULT_READING
) -> TableSource:
    """Return one file as a table.

    Raises:
        DataError: its bytes cannot be read, or are of a kind that cannot be.
    """
    folder, _, file = path.rpartition("/")
    image = images_source(name.rpartition("/")[0] or ".", folder, system, [file])
    if is_image_file(file):
        return image
    try:
        if _is_cifar(system, path):
            stem = file.removesuffix(".bin")
            return TableSource(name, folder, system, stem, {}, "cifar", (file,))
        source = file_source(name, path, system, file, reading=reading)
    except FormatError as error:
        raise DataError(f"{name} is {error.kind}, which is not read: {error.remedy}") from None
    return image if source.file_format.name == "image" else source


def _is_cifar(system: Any, path: str) -> bool:
    # The format has no signature.
    return path.endswith(".bin") and format_by_signature(read_start(system, path)) is None


def file_source(
    name: str,
    path: str,
    system: Any,
    relative: str,
    keys: dict[str, str | None] | None = None,
    reading: Reading = DEFAULT_READING,
) -> TableSource:
    """Return one file as a source, its format recognized; that of an image is `image`.

    Raises:
        FormatError: its content is of a kind that cannot be read.
        DataError: its bytes cannot be read.
    """
    file_format = recognize(system, path, name, reading.csv.text_encoding)
    return TableSource(
        name, path, system, relative, keys or {}, file_format=file_format, reading=reading
    )


def hive_keys(relative: str) -> dict[str, str | None]:
    """Return the keys of a path like `city=New%20York/part.parquet`, as Hive and Spark write them.

    A value is percent-encoded where a path could not have it; a missing one has a name of its own.
    """
    keys: dict[str, str | None] = {}
    for part in PurePosixPath(relative).parts[:-1]:
        key, separator, value = part.partition("=")
        if separator:
            keys[_decoded(key)] = None if value == HIVE_NULL else _decoded(value)
    return keys


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        # Its bytes are no text: it is what it looks like.
        return text


def is_image_file(file: str) -> bool:
    """Whether a file is named as an image."""
    return file.lower().endswith(IMAGE_SUFFIXES)


def is_table(relative: str) -> bool:
    """Whether a file is named as a table of a known format, compressed or not."""
    return format_by_suffix(relative) is not None and not is_hidden(relative)
