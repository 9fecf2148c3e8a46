"""Where observations lie: files, globs, Hive-partitioned folders and fsspec URLs, opened alike."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from creche.errors import DataError

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "json",
    ".ndjson": "json", ".json": "json", ".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow",
}  # fmt: skip
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
CHUNK = 4 << 20


@dataclass(frozen=True)
class Source:
    """One file of observations."""

    name: str  # as the user gave it, or found it
    path: str  # on `system`
    system: Any = field(repr=False)  # a pyarrow FileSystem
    relative: str = ""  # below the folder or glob that it was found in, its suffixes included
    keys: dict[str, str] = field(default_factory=dict)  # Hive partition keys of its path

    @classmethod
    def local(cls, path: Path, name: str | None = None) -> "Source":
        """One local file.

        Raises:
            DataError: there is no such file.
        """
        if not path.is_file():
            raise DataError(f"{name or path}: no such file")
        return cls(name or str(path), str(path.resolve()), pa.fs.LocalFileSystem(), path.name)

    @property
    def suffixes(self) -> list[str]:
        found = PurePosixPath(self.path).suffixes[-2:]
        return [s.lower() for s in (found if found and found[-1].lower() in COMPRESSIONS else found[-1:])]

    @property
    def format(self) -> str:
        """csv (the default), parquet, json or arrow."""
        return FORMATS.get(self.suffixes[0], "csv") if self.suffixes else "csv"

    @property
    def stem(self) -> str:
        """`relative` without its suffixes: what predictions are called after."""
        return self.relative.removesuffix("".join(PurePosixPath(self.relative).suffixes[-len(self.suffixes) :]))

    def size(self) -> int:
        """Bytes."""
        return int(self._info().size or 0)

    def stamp(self) -> list[int]:
        """Size and time of change: what must not move while a file is read."""
        info = self._info()
        return [int(info.size or 0), int(info.mtime_ns or 0)]

    def _info(self) -> Any:
        info = self.system.get_file_info(self.path)
        if info.type != pa.fs.FileType.File:
            raise DataError(f"{self.name}: no such file")
        return info

    @contextmanager
    def stream(self) -> Iterator[Any]:
        """The bytes in order, unpacked where a suffix says that they are packed."""
        packed = COMPRESSIONS.get(self.suffixes[-1]) if self.suffixes else None
        with self.system.open_input_stream(self.path, compression=packed) as stream:
            yield stream

    @contextmanager
    def file(self) -> Iterator[Any]:
        """The bytes in any order."""
        with self.system.open_input_file(self.path) as file:
            yield file

    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.system.open_input_stream(self.path, compression=None) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def find(given: list[str]) -> list[Source]:
    """Every file that the words name: files, globs and folders, local or by URL; sorted within each word.

    Raises:
        DataError: a word names nothing, or two files would give predictions of one name.
    """
    sources = [source for word in given for source in _find(word)]
    paths = [s.path for s in sources]
    if again := [s.name for s in sources if paths.count(s.path) > 1]:
        raise DataError(f"{again[0]} is named twice: its rows would be scored twice")
    stems = [s.stem for s in sources]
    folders = {str(p) for stem in stems for p in PurePosixPath(stem).parents}
    if beside := [s.name for s in sources if any(f"{s.stem}.{f}" in folders for f in ("parquet", "csv", "jsonl"))]:
        raise DataError(f"predictions of {beside[0]} would be called as a folder beside it is: score them into two folders")
    if twice := [s for s in sources if stems.count(s.stem) > 1]:
        raise DataError(f"{twice[0].name} and {twice[1].name} would give predictions of one name: score them into two folders")
    return sources


def _find(word: str) -> list[Source]:
    if "://" in word:
        return _remote(word)
    path = Path(word)
    if path.is_dir():
        return _below(word, path, sorted(p for p in path.rglob("*") if p.is_file() and _is_data(p.relative_to(path))))
    if any(c in word for c in "*?[") and not path.is_file():
        anchor = Path(path.anchor or ".")
        pattern = str(path.relative_to(path.anchor)) if path.anchor else word
        fixed = Path(*_until_magic(path.parts))
        return _below(word, fixed, sorted(p for p in anchor.glob(pattern) if p.is_file()))
    return [Source.local(path, word)]


def _until_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts[:-1]:
        if any(c in part for c in "*?["):
            return
        yield part


def _below(word: str, folder: Path, files: list[Path]) -> list[Source]:
    if not files:
        raise DataError(f"{word}: no file of observations there ({', '.join(FORMATS)})")
    system = pa.fs.LocalFileSystem()
    found = []
    for file in files:
        relative = file.relative_to(folder).as_posix()
        found.append(Source(str(file), str(file.resolve()), system, relative, hive_keys(relative)))
    return found


def _remote(word: str) -> list[Source]:
    try:
        import fsspec
    except ModuleNotFoundError:
        raise DataError(f"{word}: URLs need fsspec, and its package for the protocol: pip install 'creche[remote]'") from None
    try:
        handle, path = fsspec.core.url_to_fs(word)
        if any(c in path for c in "*?["):
            base, files = path.rsplit("/", 1)[0], sorted(handle.glob(path))
        elif handle.isdir(path):
            base, files = path, sorted(f for f in handle.find(path) if _is_data(PurePosixPath(f).relative_to(path)))
        else:
            base, files = path.rsplit("/", 1)[0], [path] if handle.exists(path) else []
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{word}: {error}") from None
    if not files:
        raise DataError(f"{word}: no file of observations there")
    system = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(handle))
    relative = [PurePosixPath(f).relative_to(base).as_posix() if "*" not in base else PurePosixPath(f).name for f in files]
    return [Source(handle.unstrip_protocol(f), f, system, r, hive_keys(r)) for f, r in zip(files, relative, strict=True)]


def hive_keys(relative: str) -> dict[str, str]:
    """Keys of a path like `island=Dream/part.parquet`."""
    return dict(part.split("=", 1) for part in PurePosixPath(relative).parts[:-1] if "=" in part)


def _is_data(relative: Any) -> bool:
    hidden = any(p.startswith((".", "_")) for p in relative.parts)
    *_, before, last = ("", "", *(s.lower() for s in relative.suffixes))
    return not hidden and (before if last in COMPRESSIONS else last) in FORMATS
