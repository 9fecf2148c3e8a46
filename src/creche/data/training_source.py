"""The one table that a model is trained on: a file, images, or the files of a folder."""

from collections.abc import Sequence
from pathlib import Path

from creche.contract.reading import DEFAULT_READING, Reading
from creche.data.delta_tables import delta_source, is_delta_table
from creche.data.folder_content import list_folder
from creche.data.folder_tables import Folder, Inputs, add_tables
from creche.data.readers import open_reader
from creche.data.table_source import LOCAL, TableSource, collection_in
from creche.errors import DataError

WORKBOOK = "workbook"  # the format of a file that has sheets
WAY_OUT = "mend or move them, or name one file as data.path"


def training_source(
    path: Path, name: str, reading: Reading = DEFAULT_READING, files: Sequence[str] = ()
) -> TableSource:
    """Return the table that a file or folder is.

    Args:
        name: of the source in messages and reports.
        reading: how the files are read, where they do not tell themselves.
        files: the only files of a folder to read; by default all.

    Raises:
        DataError: there is no table, or a file that may hold observations cannot be read.
    """
    if not path.is_dir():
        source = TableSource.local(path, name, reading)
        if reading.sheet and source.format != WORKBOOK:
            raise DataError(
                f"{name} is no workbook, and a sheet is stated as data.sheet in the recipe: remove "
                "it"
            )
        return source
    if is_delta_table(path):
        return delta_source(path, name, reading)
    content = list_folder(path)
    if files:
        stated = set(files)
        content.files = [file for file in content.files if file in stated]
    collection = collection_in(name, name, str(path.resolve()), LOCAL, content.files)
    if collection is not None:
        return collection
    inputs = Inputs()
    folder = Folder(name, name, str(path.resolve()), LOCAL, reading=reading, way_out=WAY_OUT)
    add_tables(folder, content, inputs)
    sources = inputs.sources
    if sources[0].collection:
        return sources[0]
    return TableSource(
        name=name,
        path=str(path.resolve()),
        system=LOCAL,
        relative=path.name,
        collection="tables",
        files=tuple(source.relative for source in sources),
        reading=reading,
        parts=tuple(sources),
    )


def read_header(source: TableSource) -> list[str]:
    """Return the names of a table's columns, with the keys of its path.

    Raises:
        DataError: it cannot be read.
    """
    own = open_reader(source).header
    return [*own, *(key for key in source.keys if key not in own)]
