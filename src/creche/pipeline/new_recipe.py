"""Write the recipe of a table: read it, pin or track it, and leave its profile beside."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creche.contract.reading import Reading, dialect_to_dict
from creche.data.dvc_ignore import tracked_version
from creche.data.dvc_store import find_pointer, track
from creche.data.pinned_download import download_unpinned
from creche.data.sql_snapshot import take_snapshot
from creche.errors import CrecheError, DataError, RecipeError, UsageError, shortened
from creche.profile import ProfileOptions, open_table, profile_table, recipe_text, with_notes
from creche.profile.report import table_report
from creche.project import (
    RECIPE_NAME_FORM,
    ProjectPaths,
    atomic_write,
    is_recipe_name,
    write_record,
)
from creche.recipe import load
from creche.records import TableReport
from creche.reporting.profile_page import profile_page

PROFILE_PAGE = "profile.html"
PROFILE_RECORD = "profile.json"
DATA_FOLDER = "data"  # of a project, where tables from elsewhere are copied to
MAX_DEFAULT_NAME = 25  # characters of the table's name, of up to 4 bytes
SHOWN_NAME = 50  # characters of a name in a message
URL_SCHEMES = ("https://", "http://", "file://")


@dataclass(frozen=True)
class TableLocation:
    """Where a table is.

    Attributes:
        argument: what the user named.
        path: of the file or folder.
        url: where it was downloaded from, or of the database; None where it is a file.
        md5: of a download.
        sql: the query whose rows are the table.
    """

    argument: str
    path: Path
    url: str | None = None
    md5: str | None = None
    sql: str | None = None


def new_recipe(
    table: str,
    options: ProfileOptions,
    paths: ProjectPaths,
    *,
    name: str | None = None,
    sheet: str | None = None,
    sql: str | None = None,
    force: bool = False,
    command: str = "creche init",
) -> TableReport:
    """Write `recipes/NAME.yaml` for a table, and its profile.

    Args:
        table: a file or folder, an address that is downloaded, or the URL of a database.
        options: label, group, time, bins, and columns to keep.
        name: of the recipe; by default the name of the table.
        sheet: of a workbook that has several.
        sql: a query of the database.
        force: write over a recipe of that name.
        command: that is written on the recipe's first line.

    Raises:
        UsageError: there is a recipe of that name, or an option names no column.
        DataError: the table cannot be read, or no classifier can be trained on it.
        UnreachableError: the address does not respond.
    """
    recipe_name = _recipe_name(table, name)
    recipe_file = paths.root / "recipes" / f"{recipe_name}.yaml"
    if recipe_file.exists() and not force:
        raise UsageError(
            f"recipes/{recipe_name}.yaml exists: add --force to write over it, or --name for "
            "another one"
        )
    with _errors_on_one_line():
        location = _locate(table, sql, paths)
        table_name = "the query's result" if sql else table
        sample, source, reading = open_table(location.path, table_name, sheet)
        profile = with_notes(profile_table(sample, source, options), reading)
        data = _data_section(location, paths, reading)
        text = recipe_text(profile, data, Path(table).name, command)
        _check_loads(text, recipe_name, paths.root)
    _place(location, data, paths.root)
    with atomic_write(recipe_file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    report = table_report(
        profile, recipe=recipe_name, recipe_file=_shown(recipe_file, paths.root), table=table
    )
    return _with_pages(report, paths, data)


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """Write errors on one line, whatever characters the names of columns and the cells have."""
    try:
        yield
    except CrecheError as error:
        printable = "".join(each if each.isprintable() else " " for each in str(error))
        raise type(error)(printable) from None


def _recipe_name(table: str, name: str | None) -> str:
    stem = table.rstrip("/").rpartition("/")[2]
    if name is None:
        # Several suffixes, as in sales.csv.gz.
        name = stem.split(".")[0] or stem
        name = "".join(each if each.isalnum() or each in "_-" else "_" for each in name)
        name = name[:MAX_DEFAULT_NAME]
    name = name.removesuffix(".yaml").removesuffix(".yml")
    if not is_recipe_name(name):
        raise UsageError(
            f"--name '{shortened(name, SHOWN_NAME)}': the name of a recipe is made of "
            f"{RECIPE_NAME_FORM}"
        )
    return name


def _locate(table: str, sql: str | None, paths: ProjectPaths) -> TableLocation:
    if sql is not None:
        paths.create_home()
        snapshot = take_snapshot(sql, table, paths)
        return TableLocation(table, snapshot.path, table, sql=sql)
    if table.startswith(URL_SCHEMES):
        paths.create_home()
        try:
            path, md5 = download_unpinned(table, paths)
        except CrecheError as error:
            # What is downloaded for a recipe may be given as a file; this command takes its name.
            reason = str(error).partition("; download it elsewhere")[0]
            raise type(error)(f"{reason}; download it elsewhere, and name the file") from None
        return TableLocation(table, path, table, md5)
    if "://" in table:
        raise UsageError(
            f"{table}: a recipe reads files of the project, https, http and file URLs, and with "
            "--sql databases: download it, and name the file, or add --sql"
        )
    path = Path(table).resolve()
    if not path.exists():
        raise DataError(f"{table}: no such file")
    return TableLocation(table, path)


def _data_section(location: TableLocation, paths: ProjectPaths, reading: Reading) -> dict[str, Any]:
    """Return the section `data`; nothing is copied or tracked yet.

    Raises:
        DataError: the table would be copied over another file.
    """
    section: dict[str, Any] = {}
    if location.sql:
        return {"url": location.url, "sql": location.sql}
    if location.url:
        section["url"] = location.url
        section["md5"] = location.md5
    else:
        path = _path_in_project(location.path, paths.root)
        section["path"] = path.relative_to(paths.root).as_posix()
        if not _will_be_tracked(path, paths.root):
            section["md5"] = tracked_version(location.path, paths.root)
    if reading.sheet:
        section["sheet"] = reading.sheet
    dialect = dialect_to_dict(reading.csv)
    if dialect:
        section["csv"] = dialect
    return section


def _path_in_project(path: Path, root: Path) -> Path:
    """Return where a table is in the project, or will be copied to.

    Raises:
        DataError: the project has another file of that name.
    """
    if path.is_relative_to(root):
        return path
    copy = root / DATA_FOLDER / path.name
    if copy.exists() and tracked_version(copy, root) != tracked_version(path, root):
        raise DataError(
            f"{path} would be copied to {DATA_FOLDER}/{path.name}, which is another file: remove "
            "that one, or name it"
        )
    return copy


def _will_be_tracked(path: Path, root: Path) -> bool:
    """Whether DVC is to track a table: where the project has DVC.

    A file in a folder that is tracked as a whole is pinned instead: to track it would change the
    version of all other data in the folder.
    """
    if not (root / ".dvc").is_dir():
        return False
    pointer = find_pointer(path, root)
    return pointer is None or pointer == path.with_name(path.name + ".dvc")


def _place(location: TableLocation, data: Mapping[str, Any], root: Path) -> None:
    """Copy a table from elsewhere into the project, and have DVC track it where it is to."""
    if location.url:
        return
    path = root / str(data["path"])
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if location.path.is_dir():
            shutil.copytree(location.path, path)
        else:
            with atomic_write(path) as temporary:
                shutil.copyfile(location.path, temporary)
    if "md5" not in data:
        track(path, root)


def _check_loads(text: str, name: str, root: Path) -> None:
    """Check that what was written is a recipe, before it is put where recipes are.

    Raises:
        DataError: it is none: the table has something that a recipe cannot say.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            load(str(path), root)
        except RecipeError as error:
            reason = str(error).replace(f"{path}: ", "").replace(str(path), "it")
            raise DataError(
                f"no recipe can be written for this table by itself ({reason}): rename or remove "
                "what is named there"
            ) from None


def _with_pages(report: TableReport, paths: ProjectPaths, data: Mapping[str, Any]) -> TableReport:
    """Write the profile under the home, and return the report with its page."""
    paths.create_home()
    folder = paths.home / "profiles" / report.recipe
    page = folder / PROFILE_PAGE
    table = "new.csv" if "sql" in data else str(data.get("path") or data["url"])
    commands = [
        f"creche retrain {_quoted(report.recipe)}",
        f"creche score {_quoted(table)} --recipe {_quoted(report.recipe)} --out predictions",
    ]
    complete = report.model_copy(
        update={"page": _shown(page, paths.root), "next_commands": commands}
    )
    with atomic_write(page) as temporary:
        temporary.write_text(profile_page(complete), encoding="utf-8")
    write_record(folder / PROFILE_RECORD, complete)
    return complete


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
