"""Find observations: files, globs, Hive-partitioned folders and fsspec URLs.

Images, or the files of CIFAR-10's binary version, are one table together: one source with a row
for each. Every file below a folder is a source, is counted as hidden or a marker, is named as not
read, or is refused.
"""

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from creche.contract.reading import DEFAULT_READING, Reading
from creche.data.delta_tables import delta_source, is_delta_table
from creche.data.file_formats import FormatError, recognize
from creche.data.folder_content import (
    FolderContent,
    is_hidden,
    list_folder,
)
from creche.data.folder_tables import Folder, Inputs, add_tables, check_utf8
from creche.data.remote_files import (
    GLOB_CHARACTERS,
    arrow_file_system,
    list_remote,
    open_file_system,
    parts_before_glob,
)
from creche.data.table_source import (
    LOCAL,
    TableSource,
    images_source,
    is_image_file,
    single_file,
)
from creche.errors import DataError
from creche.project import PREDICTION_FORMATS


def find_sources(arguments: list[str]) -> list[TableSource]:
    """Return every table that the arguments name; see `find_inputs`."""
    return find_inputs(arguments).sources


def find_inputs(arguments: list[str], reading: Reading = DEFAULT_READING) -> Inputs:
    """Return every table that the arguments name, sorted within each argument, and what is skipped.

    Images named one by one are one table.

    Args:
        arguments: files, globs and folders, local or by URL.
        reading: how the files are read, where they do not tell themselves.

    Raises:
        DataError: an argument names nothing, or images and tables at once; a file is of a kind that
            cannot be read, or is named twice; two tables would give predictions of one name.
    """
    for argument in arguments:
        check_utf8(argument)
    images = []
    inputs = Inputs()
    for argument in arguments:
        if _is_image(argument):
            images.append(argument)
        else:
            _find(argument, inputs, reading)
    if images:
        inputs.sources.append(_images_in_common_folder(images))
    _check_named_once(inputs.sources)
    _check_prediction_names(inputs.sources)
    return inputs


def _is_image(argument: str) -> bool:
    if "://" in argument or not Path(argument).is_file():
        return False
    if is_image_file(argument):
        return True
    try:
        return recognize(LOCAL, argument, argument).name == "image"
    except FormatError:
        return False


def _images_in_common_folder(images: list[str]) -> TableSource:
    file_paths = [Path(file).parent.resolve() / Path(file).name for file in images]
    folder = os.path.commonpath([path.parent for path in file_paths])
    relative = [path.relative_to(folder).as_posix() for path in file_paths]
    return images_source(folder, folder, LOCAL, relative)


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
    """Return one image as a table of one row.

    Args:
        folder: path or URL, as the manifest of a scoring has it.
        file: below the folder.

    Raises:
        DataError: the folder cannot be opened.
    """
    if "://" not in folder:
        return images_source(folder, str(Path(folder).resolve()), LOCAL, [file])
    file_system, path = open_file_system(folder)
    return images_source(folder, path, arrow_file_system(file_system), [file])


def _find(argument: str, inputs: Inputs, reading: Reading) -> None:
    """Add the tables that one argument names."""
    if "://" in argument:
        _find_remote(argument, inputs, reading)
        return
    path = Path(argument)
    is_pattern = bool(GLOB_CHARACTERS.intersection(argument)) and not path.exists()
    if is_pattern:
        fixed, content = _list_glob(argument)
        folder = Folder(argument, str(fixed), str(fixed.resolve()), LOCAL, True, reading)
        add_tables(folder, content, inputs)
    elif is_delta_table(path):
        inputs.sources.append(delta_source(path, argument, reading))
    elif path.is_dir():
        content = list_folder(path)
        folder = Folder(argument, str(path), str(path.resolve()), LOCAL, False, reading)
        add_tables(folder, content, inputs)
    else:
        inputs.sources.append(TableSource.local(path, argument, reading))


def _list_glob(argument: str) -> tuple[Path, FolderContent]:
    """Return the fixed beginning of a local pattern, and what matches below it.

    A folder that matches stands for all that it holds.
    """
    path = Path(argument)
    anchor = Path(path.anchor or ".")
    pattern = str(path.relative_to(path.anchor)) if path.anchor else argument
    fixed = Path(*parts_before_glob(path.parts))
    below_fixed = "/".join(path.parts[len(fixed.parts) :])
    content = FolderContent()
    for match in anchor.glob(pattern):
        relative = match.relative_to(fixed).as_posix()
        if match.is_dir():
            if is_hidden(relative) and not is_hidden(below_fixed):
                content.hidden.append(relative)
                continue
            folder_content = list_folder(match, fixed)
            content.extend_below(relative, folder_content)
        elif match.is_file():
            content.add_matched_file(relative, below_fixed)
        else:
            content.add_unreadable(relative, is_link=match.is_symlink())
    content.sort()
    return fixed, content


def _find_remote(argument: str, inputs: Inputs, reading: Reading) -> None:
    file_system, path = open_file_system(argument)
    system = arrow_file_system(file_system)
    is_pattern = bool(GLOB_CHARACTERS.intersection(path))
    try:
        is_file = not is_pattern and file_system.isfile(path)
        if not is_file:
            base, content = list_remote(file_system, path)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{argument}: {error}") from None
    if is_file:
        name = file_system.unstrip_protocol(path)
        inputs.sources.append(single_file(name, path, system, reading))
        return
    name = file_system.unstrip_protocol(base)
    folder = Folder(argument, name, base, system, is_pattern, reading)
    add_tables(folder, content, inputs)
