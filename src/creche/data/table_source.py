"""One table to read: a file, or the files of a folder that are one table together."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.fs

from creche.errors import DataError

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
CIFAR_FILE = re.compile(r"(data_batch_\d+|test_batch)\.bin")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
CHUNK_BYTES = 4 << 20
LOCAL = pa.fs.LocalFileSystem()


@dataclass(frozen=True)
class TableSource:
    """One file of observations, or a folder of which some files are one table."""

    name: str  # in messages and manifests: the argument, or the path below it
    path: str  # on `system`
    system: Any = field(repr=False)  # a pyarrow FileSystem
    relative: str = ""  # path below the folder or glob of the argument, suffixes included
    keys: dict[str, str] = field(default_factory=dict)  # Hive partition keys of its path
    collection: Literal["images", "cifar"] | None = None  # what `files` are one table of
    files: tuple[str, ...] = field(default=(), repr=False)  # below `path`, in order

    @classmethod
    def local(cls, path: Path, name: str | None = None) -> "TableSource":
        """Return one local file, or a folder of images or of CIFAR-10 batches.

        Raises:
            DataError: there is no such file, or the folder is of another kind.
        """
        name = name or str(path)
        if path.is_dir():
            source = collection_in(name, name, str(path.resolve()), LOCAL, walk(path))
            if source is None:
                raise DataError(f"{name} is a folder without images: name a file")
            return source
        if not path.is_file():
            raise DataError(f"{name}: no such file")
        return single_file(name, str(path.resolve()), LOCAL)

    @property
    def suffixes(self) -> list[str]:
        """The suffix of the file in lower case, with that of its compression behind it."""
        last_two = PurePosixPath(self.path).suffixes[-2:]
        is_compressed = bool(last_two) and last_two[-1].lower() in COMPRESSIONS
        suffixes = last_two if is_compressed else last_two[-1:]
        return [suffix.lower() for suffix in suffixes]

    @property
    def format(self) -> str:
        """csv (the default), parquet, json or arrow; images or cifar where `files` are one
        table.
        """
        if self.collection:
            return self.collection
        if not self.suffixes:
            return "csv"
        return FORMATS.get(self.suffixes[0], "csv")

    @property
    def stem(self) -> str:
        """`relative` without its suffixes: the predictions get this name."""
        if self.collection:
            return self.relative
        suffixes = PurePosixPath(self.relative).suffixes[-len(self.suffixes) :]
        return self.relative.removesuffix("".join(suffixes))

    @property
    def file_paths(self) -> list[str]:
        """The path of every file."""
        if not self.files:
            return [self.path]
        return [f"{self.path}/{file}" for file in self.files]

    def size(self) -> int:
        """Return the size in bytes."""
        return sum(int(info.size or 0) for info in self._file_infos())

    def stamp(self) -> list[int]:
        """Return a fingerprint of size and time of change, which must not change during a read.

        Returns:
            Bytes and ns since the epoch of one file; the number and a digest of several.
        """
        stamps = []
        for info in self._file_infos():
            stamps.append([int(info.size or 0), int(info.mtime_ns or 0)])
        if len(stamps) == 1:
            return stamps[0]
        by_file = list(zip(self.files, stamps, strict=True))
        digest = hashlib.sha256(repr(by_file).encode()).hexdigest()
        return [len(stamps), int(digest[:15], 16)]

    def _file_infos(self) -> list[Any]:
        infos: list[Any] = self.system.get_file_info(self.file_paths)
        for info in infos:
            if info.type != pa.fs.FileType.File:
                raise DataError(f"{info.path if self.collection else self.name}: no such file")
        return infos

    @contextmanager
    def open_stream(self) -> Iterator[Any]:
        """Open the bytes in order, decompressed where a suffix says that they are compressed."""
        compression = None
        if self.suffixes:
            compression = COMPRESSIONS.get(self.suffixes[-1])
        with self.system.open_input_stream(self.path, compression=compression) as stream:
            yield stream

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
        if any("\udc80" <= character <= "\udcff" for character in file):
            raise DataError(f"{name}: the name of {file!r} is not UTF-8: rename it")
    folder_name = PurePosixPath(path).name
    return TableSource(name, path, system, folder_name, {}, "images", tuple(sorted(files)))


def single_file(name: str, path: str, system: Any) -> TableSource:
    """Return one file as a table."""
    folder, _, file = path.rpartition("/")
    if is_image_file(file):
        return images_source(name.rpartition("/")[0] or ".", folder, system, [file])
    if file.endswith(".bin"):
        stem = file.removesuffix(".bin")
        return TableSource(name, folder, system, stem, {}, "cifar", (file,))
    return TableSource(name, path, system, file)


def walk(folder: Path) -> list[str]:
    """Return the files below a folder, relative to it, sorted."""
    import os

    top = str(folder).rstrip("/")
    files = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = f"{base.rstrip('/')}/{name}"
            if os.path.isfile(path):  # noqa: PTH113 - a Path takes ten times as long
                files.append(path[len(top) + 1 :])
    return sorted(files)


def hive_keys(relative: str) -> dict[str, str]:
    """Return the keys of a path like `island=Dream/part.parquet`."""
    keys = {}
    for part in PurePosixPath(relative).parts[:-1]:
        key, separator, value = part.partition("=")
        if separator:
            keys[key] = value
    return keys


def is_image_file(file: str) -> bool:
    """Whether a file is named as an image."""
    return file.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(relative: str) -> bool:
    """Whether a file or a folder above it begins with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in relative.split("/"))


def is_table(relative: str) -> bool:
    """Whether a file is named as a table of a known format, compressed or not."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(relative).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    has_format = bool(suffixes) and suffixes[-1] in FORMATS
    return has_format and not is_hidden(relative)
