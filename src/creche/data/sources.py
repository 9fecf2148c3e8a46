"""Find observations: files, globs, Hive-partitioned folders and fsspec URLs.

Pictures, or the files of CIFAR-10's binary version, are one table together: one source with a row
for each.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from creche.data.table_source import (
    FORMATS,
    LOCAL,
    PICTURE_SUFFIXES,
    TableSource,
    collection_in,
    hive_keys,
    is_picture,
    is_table,
    pictures_source,
    single_file,
    walk,
)
from creche.errors import DataError
from creche.project import PREDICTION_FORMATS

GLOB_CHARACTERS = frozenset("*?[")


def find_sources(arguments: list[str]) -> list[TableSource]:
    """Return every table that the arguments name, sorted within each argument.

    Pictures named one by one are one table.

    Args:
        arguments: files, globs and folders, local or by URL.

    Raises:
        DataError: an argument names nothing, or pictures and tables at once; a file is named twice,
            or two tables would give predictions of one name.
    """
    pictures = [a for a in arguments if is_picture(a) and Path(a).is_file()]
    sources = []
    for argument in arguments:
        if argument not in pictures:
            sources += _find(argument)
    if pictures:
        sources.append(_pictures_in_common_folder(pictures))
    _check_named_once(sources)
    _check_prediction_names(sources)
    return sources


def _pictures_in_common_folder(pictures: list[str]) -> TableSource:
    file_paths = [Path(file).parent.resolve() / Path(file).name for file in pictures]
    folder = os.path.commonpath([path.parent for path in file_paths])
    relative = [path.relative_to(folder).as_posix() for path in file_paths]
    return pictures_source(folder, folder, LOCAL, relative)


def _check_named_once(sources: list[TableSource]) -> None:
    times: Counter[str] = Counter()
    for source in sources:
        times.update(source.file_paths)
    for file_path, count in times.items():
        if count > 1:
            raise DataError(f"{file_path} is named twice: its rows would be scored twice")


def _check_prediction_names(sources: list[TableSource]) -> None:
    folders: set[str] = set()
    for source in sources:
        folders.update(str(folder) for folder in PurePosixPath(source.stem).parents)
    for source in sources:
        file_names = {f"{source.stem}.{suffix}" for suffix in PREDICTION_FORMATS}
        if file_names & folders:
            raise DataError(
                f"predictions of {source.name} would have the name of a folder beside them: score "
                "them into two folders"
            )
    by_stem: dict[str, TableSource] = {}
    for source in sources:
        other = by_stem.setdefault(source.stem, source)
        if other is not source:
            raise DataError(
                f"{other.name} and {source.name} would give predictions of one name: score them "
                "into two folders"
            )


def image_source(folder: str, file: str) -> TableSource:
    """Return one picture as a table of one row.

    Args:
        folder: path or URL, as the manifest of a scoring has it.
        file: below the folder.

    Raises:
        DataError: the folder cannot be opened.
    """
    if "://" not in folder:
        return pictures_source(folder, str(Path(folder).resolve()), LOCAL, [file])
    file_system, path = _open_file_system(folder)
    return pictures_source(folder, path, _arrow_file_system(file_system), [file])


def _find(argument: str) -> list[TableSource]:
    if "://" in argument:
        return _find_remote(argument)
    path = Path(argument)
    if path.is_dir():
        return _tables_below(argument, path, walk(path), is_table)
    if GLOB_CHARACTERS.intersection(argument) and not path.is_file():
        return _find_glob(argument)
    return [TableSource.local(path, argument)]


def _find_glob(argument: str) -> list[TableSource]:
    path = Path(argument)
    anchor = Path(path.anchor or ".")
    pattern = str(path.relative_to(path.anchor)) if path.anchor else argument
    fixed = Path(*_parts_before_glob(path.parts))
    files = []
    for match in anchor.glob(pattern):
        if match.is_file():
            files.append(match.relative_to(fixed).as_posix())
    return _tables_below(argument, fixed, sorted(files), lambda _: True)


def _parts_before_glob(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts[:-1]:
        if GLOB_CHARACTERS.intersection(part):
            return
        yield part


def _tables_below(
    argument: str, folder: Path, files: list[str], is_included: Callable[[str], bool]
) -> list[TableSource]:
    collection = collection_in(argument, str(folder), str(folder.resolve()), LOCAL, files)
    if collection:
        return [collection]
    sources = []
    for file in files:
        if is_included(file):
            path = folder / file
            source = TableSource(str(path), str(path.resolve()), LOCAL, file, hive_keys(file))
            sources.append(source)
    if not sources:
        known = ", ".join((*FORMATS, *PICTURE_SUFFIXES))
        raise DataError(f"{argument}: no file of observations there ({known})")
    return sources


def _find_remote(argument: str) -> list[TableSource]:
    file_system, path = _open_file_system(argument)
    try:
        base, files = _list_remote(file_system, path)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{argument}: {error}") from None
    system = _arrow_file_system(file_system)
    relative = [PurePosixPath(file).relative_to(base).as_posix() for file in files]
    relative.sort()
    name = file_system.unstrip_protocol(base)
    collection = collection_in(argument, name, base, system, relative)
    if collection:
        return [collection]
    tables = relative
    if base == path:
        # Files that a pattern matches are read whatever they are called; those of a folder are not.
        tables = [file for file in relative if is_table(file)]
    if not tables:
        raise DataError(f"{argument}: no file of observations there")
    if tables == [PurePosixPath(path).name]:
        return [single_file(file_system.unstrip_protocol(path), path, system)]
    sources = []
    for table in tables:
        table_path = f"{base}/{table}"
        table_name = file_system.unstrip_protocol(table_path)
        sources.append(TableSource(table_name, table_path, system, table, hive_keys(table)))
    return sources


def _list_remote(file_system: Any, path: str) -> tuple[str, list[str]]:
    """Return a folder, and the files in it that a path or pattern names.

    The folder is the path itself, the fixed beginning of a pattern, or the parent of a file.
    """
    if GLOB_CHARACTERS.intersection(path):
        base = str(PurePosixPath(*_parts_before_glob(PurePosixPath(path).parts)))
        infos = file_system.glob(path, detail=True)
        files = [file for file, info in infos.items() if info["type"] == "file"]
        return base, files
    if file_system.isdir(path):
        return path, file_system.find(path)
    files = [path] if file_system.exists(path) else []
    return path.rsplit("/", 1)[0], files


def _open_file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ModuleNotFoundError:
        raise DataError(
            f"{url}: URLs need fsspec, and its package for the protocol: run "
            "`pip install 'creche[remote]'`"
        ) from None
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{url}: {error}") from None
    return file_system, path


def _arrow_file_system(file_system: Any) -> Any:
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(file_system))
