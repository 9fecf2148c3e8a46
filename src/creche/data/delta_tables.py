"""Delta Lake tables: the log of a table states which of the files in its folder are current."""

from pathlib import Path
from typing import Any

from creche.contract.reading import DEFAULT_READING, Reading
from creche.data.table_source import LOCAL, TableSource
from creche.errors import DataError, shortened

LOG_FOLDER = "_delta_log"
REASON_LENGTH = 300  # characters of what the library says
INSTALL = "run `pip install 'creche[delta]'`"


def is_delta_table(folder: Path) -> bool:
    """Whether a local folder is a Delta Lake table."""
    log = folder / LOG_FOLDER
    return log.is_dir() and any(log.glob("*.json"))


def delta_source(folder: Path, name: str, reading: Reading = DEFAULT_READING) -> TableSource:
    """Return the current version of a table, whose files are those that its log states.

    Raises:
        DataError: the log cannot be read, or the package for it is absent.
    """
    path = str(folder.resolve())
    table = open_table(path, name)
    return TableSource(
        name=name,
        path=path,
        system=LOCAL,
        relative=folder.resolve().name,
        collection="delta",
        files=tuple(sorted(fragment.path for fragment in fragments(table, name))),
        reading=reading,
        delta_version=table.version(),
    )


def open_table(path: str, name: str, version: int | None = None) -> Any:
    """Open a version of a table; None: the current one.

    Args:
        name: of the table in messages.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        import deltalake
    except ModuleNotFoundError:
        raise DataError(
            f"{name} is a Delta Lake table, which the package deltalake reads: {INSTALL}, or "
            "export the current version as Parquet"
        ) from None
    try:
        return deltalake.DeltaTable(path, version=version)
    except Exception as error:  # its exceptions share no public base class
        raise DataError(_unreadable(name, error)) from None


def fragments(table: Any, name: str) -> list[Any]:
    """Return the current files of a table, sorted by their paths.

    Raises:
        DataError: the table has a feature that cannot be read, as deletion vectors.
    """
    try:
        return sorted(table.to_pyarrow_dataset().get_fragments(), key=lambda part: str(part.path))
    except Exception as error:  # its exceptions share no public base class
        raise DataError(_unreadable(name, error)) from None


def _unreadable(name: str, error: Exception) -> str:
    # The lines after the first one are where in the library it happened.
    reason = shortened(str(error).split("\n")[0], REASON_LENGTH)
    return f"{name} is a Delta Lake table that cannot be read: {reason}; export it as Parquet"
