"""Where observations lie: files, globs, Hive-partitioned folders and fsspec URLs, opened alike.

Pictures, or the files of CIFAR-10's binary version, are one table together: one source with a row for each.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.fs

from creche.errors import DataError

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "json",
    ".ndjson": "json", ".json": "json", ".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow",
}  # fmt: skip
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
CIFAR = re.compile(r"(data_batch_\d+|test_batch)\.bin")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
CHUNK = 4 << 20
MAGIC = frozenset("*?[")
LOCAL = pa.fs.LocalFileSystem()


@dataclass(frozen=True)
class TableSource:
    """One file of observations, or a folder of which some files are one table."""

    name: str  # as the user gave it, or found it; of pictures the folder
    path: str  # on `system`
    system: Any = field(repr=False)  # a pyarrow FileSystem
    relative: str = ""  # below the folder or glob that it was found in, its suffixes included
    keys: dict[str, str] = field(default_factory=dict)  # Hive partition keys of its path
    together: Literal["images", "cifar"] | None = None  # what `files` are one table of
    files: tuple[str, ...] = field(default=(), repr=False)  # below `path`, in order

    @classmethod
    def local(cls, path: Path, name: str | None = None) -> "TableSource":
        """One local file, or a folder of pictures or of CIFAR-10 batches.

        Raises:
            DataError: there is no such file, or the folder is of another kind.
        """
        name = name or str(path)
        if path.is_dir():
            found = _together(name, name, str(path.resolve()), LOCAL, _walk(path))
            if found is None:
                raise DataError(f"{name} is a folder without pictures: name a file")
            return found
        if not path.is_file():
            raise DataError(f"{name}: no such file")
        return _single(name, str(path.resolve()), LOCAL)

    @property
    def suffixes(self) -> list[str]:
        found = PurePosixPath(self.path).suffixes[-2:]
        return [
            s.lower()
            for s in (found if found and found[-1].lower() in COMPRESSIONS else found[-1:])
        ]

    @property
    def format(self) -> str:
        """csv (the default), parquet, json or arrow; images or cifar where `files` are one table."""
        if self.together:
            return self.together
        return FORMATS.get(self.suffixes[0], "csv") if self.suffixes else "csv"

    @property
    def stem(self) -> str:
        """`relative` without its suffixes: what predictions are called after."""
        if self.together:
            return self.relative
        return self.relative.removesuffix(
            "".join(PurePosixPath(self.relative).suffixes[-len(self.suffixes) :])
        )

    @property
    def file_paths(self) -> list[str]:
        """The path of every file."""
        return [f"{self.path}/{f}" for f in self.files] or [self.path]

    def size(self) -> int:
        """Bytes."""
        return sum(int(i.size or 0) for i in self._infos())

    def stamp(self) -> list[int]:
        """Size and time of change, of several files digested: what must not move while they are read."""
        stamps = [[int(i.size or 0), int(i.mtime_ns or 0)] for i in self._infos()]
        if len(stamps) == 1:
            return stamps[0]
        together = repr(list(zip(self.files, stamps, strict=True))).encode()
        return [len(stamps), int(hashlib.sha256(together).hexdigest()[:15], 16)]

    def _infos(self) -> list[Any]:
        infos: list[Any] = self.system.get_file_info(self.file_paths)
        if gone := [i.path for i in infos if i.type != pa.fs.FileType.File]:
            raise DataError(f"{gone[0] if self.together else self.name}: no such file")
        return infos

    @contextmanager
    def stream(self) -> Iterator[Any]:
        """The bytes in order, unpacked where a suffix says that they are packed."""
        packed = COMPRESSIONS.get(self.suffixes[-1]) if self.suffixes else None
        with self.system.open_input_stream(self.path, compression=packed) as stream:
            yield stream

    @contextmanager
    def file(self, place: str | None = None) -> Iterator[Any]:
        """The bytes in any order; of several files those of the one at `place`."""
        with self.system.open_input_file(place or self.path) as file:
            yield file

    def sha256(self) -> str:
        """Of the bytes; of several files over the names and digests of all."""
        if not self.together:
            return self._sha256(self.path)
        digest = hashlib.sha256()
        for file, place in sorted(zip(self.files, self.file_paths, strict=True)):
            digest.update(f"{file}\0{self._sha256(place)}\n".encode())
        return digest.hexdigest()

    def _sha256(self, place: str) -> str:
        digest = hashlib.sha256()
        with self.system.open_input_stream(place, compression=None) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def find(given: list[str]) -> list[TableSource]:
    """Every table that the words name: files, globs and folders, local or by URL; sorted within each word.

    Pictures named one by one are one table.

    Raises:
        DataError: a word names nothing, or pictures and tables at once; a file is named twice, or two tables would give
            predictions of one name.
    """
    pictures = [w for w in given if _is_picture(w) and Path(w).is_file()]
    sources = [source for word in given if word not in pictures for source in _find(word)]
    if pictures:
        paths = [Path(w).parent.resolve() / Path(w).name for w in pictures]
        folder = os.path.commonpath([p.parent for p in paths])
        sources.append(
            _pictures(folder, folder, LOCAL, [p.relative_to(folder).as_posix() for p in paths])
        )
    if again := [
        place
        for place, times in Counter(p for s in sources for p in s.file_paths).items()
        if times > 1
    ]:
        raise DataError(f"{again[0]} is named twice: its rows would be scored twice")
    stems = [s.stem for s in sources]
    folders = {str(p) for stem in stems for p in PurePosixPath(stem).parents}
    if beside := [
        s.name
        for s in sources
        if any(f"{s.stem}.{f}" in folders for f in ("parquet", "csv", "jsonl"))
    ]:
        raise DataError(
            f"predictions of {beside[0]} would be called as a folder beside it is: score them into two folders"
        )
    if twice := [s for s in sources if stems.count(s.stem) > 1]:
        raise DataError(
            f"{twice[0].name} and {twice[1].name} would give predictions of one name: score them into two folders"
        )
    return sources


def picture(folder: str, file: str) -> TableSource:
    """One picture below a folder or URL that a scoring has told of.

    Raises:
        DataError: no such folder can be opened.
    """
    if "://" not in folder:
        return _pictures(folder, str(Path(folder).resolve()), LOCAL, [file])
    handle, path = _handle(folder)
    return _pictures(folder, path, _arrow(handle), [file])


def _find(word: str) -> list[TableSource]:
    if "://" in word:
        return _remote(word)
    path = Path(word)
    if path.is_dir():
        files = _walk(path)
        return _below(word, path, files, _is_data)
    if MAGIC.intersection(word) and not path.is_file():
        anchor = Path(path.anchor or ".")
        pattern = str(path.relative_to(path.anchor)) if path.anchor else word
        fixed = Path(*_until_magic(path.parts))
        files = sorted(p.relative_to(fixed).as_posix() for p in anchor.glob(pattern) if p.is_file())
        return _below(word, fixed, files, bool)
    return [TableSource.local(path, word)]


def _walk(folder: Path) -> list[str]:
    top = str(folder).rstrip("/")
    found = (f"{base.rstrip('/')}/{file}" for base, _, files in os.walk(folder) for file in files)
    return sorted(f[len(top) + 1 :] for f in found if os.path.isfile(f))  # noqa: PTH113 - a Path takes ten times as long


def _until_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts[:-1]:
        if MAGIC.intersection(part):
            return
        yield part


def _below(
    word: str, folder: Path, files: list[str], is_table: Callable[[str], bool]
) -> list[TableSource]:
    if found := _together(word, str(folder), str(folder.resolve()), LOCAL, files):
        return [found]
    tables = [f for f in files if is_table(f)]
    if not tables:
        raise DataError(
            f"{word}: no file of observations there ({', '.join((*FORMATS, *PICTURES))})"
        )
    return [
        TableSource(str(folder / t), str((folder / t).resolve()), LOCAL, t, hive_keys(t))
        for t in tables
    ]


def _together(word: str, name: str, path: str, system: Any, files: list[str]) -> TableSource | None:
    """The one table that these files below `path` are, if they are one.

    A picture among them makes each a row, so that nothing is lost that was meant as one.

    Raises:
        DataError: there are tables among the pictures.
    """
    shown = [f for f in files if not _is_hidden(f)]
    pictures = [f for f in shown if _is_picture(f)]
    batches = [f for f in shown if CIFAR.fullmatch(f.rpartition("/")[2])]
    tables = [
        f for f in shown if _is_data(f) and not f.lower().endswith(".txt")
    ]  # which may as well be a note
    if (pictures or batches) and (others := tables or (pictures and batches)):
        first = (pictures or batches)[0]
        raise DataError(
            f"{word} holds pictures and tables, as {first} and {others[0]}: name those meant by a glob"
        )
    if pictures:
        return _pictures(name, path, system, shown)
    if batches:  # the test batch comes last
        return TableSource(
            word, path, system, PurePosixPath(path).name, {}, "cifar", tuple(sorted(batches))
        )
    return None


def _pictures(name: str, path: str, system: Any, files: list[str]) -> TableSource:
    if strange := [f for f in files if any("\udc80" <= c <= "\udcff" for c in f)]:
        raise DataError(f"{name}: the name of {strange[0]!r} is not UTF-8: rename it")
    return TableSource(
        name, path, system, PurePosixPath(path).name, {}, "images", tuple(sorted(files))
    )


def _single(name: str, path: str, system: Any) -> TableSource:
    folder, _, file = path.rpartition("/")
    if _is_picture(file):
        return _pictures(name.rpartition("/")[0] or ".", folder, system, [file])
    if file.endswith(".bin"):
        return TableSource(name, folder, system, file.removesuffix(".bin"), {}, "cifar", (file,))
    return TableSource(name, path, system, file)


def _remote(word: str) -> list[TableSource]:
    handle, path = _handle(word)
    base = path.rsplit("/", 1)[0]
    try:
        if MAGIC.intersection(path):
            base = str(PurePosixPath(*_until_magic(PurePosixPath(path).parts)))
            files = [
                f for f, info in handle.glob(path, detail=True).items() if info["type"] == "file"
            ]
        elif handle.isdir(path):
            base, files = path, handle.find(path)
        else:
            files = [path] if handle.exists(path) else []
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{word}: {error}") from None
    system = _arrow(handle)
    files = sorted(PurePosixPath(f).relative_to(base).as_posix() for f in files)
    if found := _together(word, handle.unstrip_protocol(base), base, system, files):
        return [found]
    tables = [f for f in files if _is_data(f)] if base == path else files
    if not tables:
        raise DataError(f"{word}: no file of observations there")
    if tables == [PurePosixPath(path).name]:
        return [_single(handle.unstrip_protocol(path), path, system)]
    return [
        TableSource(handle.unstrip_protocol(f"{base}/{t}"), f"{base}/{t}", system, t, hive_keys(t))
        for t in tables
    ]


def _handle(word: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ModuleNotFoundError:
        raise DataError(
            f"{word}: URLs need fsspec, and its package for the protocol: pip install 'creche[remote]'"
        ) from None
    try:
        handle, path = fsspec.core.url_to_fs(word)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{word}: {error}") from None
    return handle, path


def _arrow(handle: Any) -> Any:
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(handle))


def hive_keys(relative: str) -> dict[str, str]:
    """Keys of a path like `island=Dream/part.parquet`."""
    return dict(part.split("=", 1) for part in PurePosixPath(relative).parts[:-1] if "=" in part)


def _is_picture(file: str) -> bool:
    return file.lower().endswith(PICTURES)


def _is_hidden(relative: str) -> bool:
    return any(p.startswith((".", "_")) for p in relative.split("/"))


def _is_data(relative: str) -> bool:
    *_, before, last = ("", "", *(s.lower() for s in PurePosixPath(relative).suffixes))
    return not _is_hidden(relative) and (before if last in COMPRESSIONS else last) in FORMATS
