"""Step pull: fetch the observations, and check that their bytes are the stated ones."""

from pathlib import Path

from creche.data.dvc_ignore import tracked_folder
from creche.data.dvc_store import find_pointer, pull_tracked
from creche.data.pinned_download import pinned_file
from creche.errors import DataError
from creche.project import SOURCE, RunPaths, write_record
from creche.provenance import md5_of
from creche.recipe import DataSpec, Recipe
from creche.records import SourceInfo

INPUTS: tuple[str, ...] = ()
OUTPUTS = (SOURCE,)


def run(recipe: Recipe, paths: RunPaths, data: Path | None = None) -> SourceInfo:
    """Write `source.json`: which file, which MD5 (the data version), how many bytes.

    Args:
        data: a file to read in place of the recipe's; it must be the one that the recipe pins.
    """
    if recipe.data.sql is not None:
        source = _run_query(recipe.data, paths, data)
    else:
        source = describe(pull(recipe.data, paths, data), paths)
    if recipe.data.files and recipe.data.md5:
        # Other files in the folder of an archive do not change the version.
        pinned = {"version": recipe.data.md5, "files": dict(recipe.data.files)}
        source = source.model_copy(update=pinned)
    references = pull_references(recipe, paths)
    source = source.model_copy(update={"references": references})
    source = with_header(source, recipe, paths)
    write_record(paths / SOURCE, source)
    return source


def pull_references(recipe: Recipe, paths: RunPaths) -> dict[str, str]:
    """Return file → MD5 of the reference tables, each pulled where DVC tracks it.

    Raises:
        DataError: one is not there.
    """
    md5s = {}
    for file in recipe.table.reference_files:
        path = paths.root / file
        if find_pointer(path, paths.root) is not None:
            pull_tracked(path, file, paths.root)
        if not path.is_file():
            raise DataError(
                f"table.reference: {file} is no file in the project: add it, or correct the recipe"
            )
        md5s[file] = md5_of(path)
    return md5s


def _run_query(spec: DataSpec, paths: RunPaths, data: Path | None) -> SourceInfo:
    # It imports pyarrow, which the pull of a file need not.
    from creche.data.sql_snapshot import take_snapshot

    assert spec.sql is not None
    assert spec.url is not None
    if data is not None:
        raise DataError(
            f"{data} cannot stand in for a query: state it as data.path in the recipe, or leave "
            "out --data"
        )
    snapshot = take_snapshot(spec.sql, spec.url, paths)
    return describe_snapshot(snapshot.path, snapshot.version, paths)


def describe_snapshot(path: Path, version: str, paths: RunPaths) -> SourceInfo:
    """Return the snapshot of a query as a source."""
    source = describe(path, paths)
    return source.model_copy(update={"version": version, "md5": source.version})


def with_header(source: SourceInfo, recipe: Recipe, paths: RunPaths) -> SourceInfo:
    """Return a source with the names of its columns, where the recipe has patterns for them, or
    they are called by their position.
    """
    if not recipe.has_patterns and not recipe.data.numbers_columns:
        return source
    # It imports pyarrow, which the pull of a file need not.
    from creche.data.training_source import read_header, training_source

    path = paths.root / source.path
    table = training_source(path, source.path, recipe.data.reading, tuple(source.files))
    return source.model_copy(update={"header": read_header(table)})


def pull(spec: DataSpec, paths: RunPaths, data: Path | None = None) -> Path:
    """Return the checked file or folder.

    Args:
        data: a file to read in place of the recipe's.

    Raises:
        DataError: it cannot be fetched, or its bytes are not the ones that the recipe or the `.dvc`
            file states.
        UnreachableError: the DVC remote, or the address, does not respond.
    """
    if data is not None or spec.md5:
        path = pinned_file(spec, paths, data)
        if not spec.files:
            _check_is_one_table(path, spec)
        return path
    assert spec.path is not None
    path = paths.root / spec.path
    if path.is_dir():
        # Tracking it would not help.
        _check_is_one_table(path, spec)
    pull_tracked(path, spec.path, paths.root)
    _check_is_one_table(path, spec)
    return path


def _check_is_one_table(path: Path, spec: DataSpec) -> None:
    """Check that a folder holds images, the batches of CIFAR-10, or tables.

    Raises:
        DataError: it does not.
    """
    if path.is_file():
        return
    # It imports pyarrow, which the pull of a file need not.
    from creche.data.training_source import training_source

    training_source(path, spec.path or str(path), spec.reading)


def describe(path: Path, paths: RunPaths) -> SourceInfo:
    """Return path, version and size of a file or folder; the path is relative in the project.

    Where a folder has files that DVC does not track, the tracked ones alone are read.
    """
    resolved = path.resolve()
    name = str(resolved)
    if resolved.is_relative_to(paths.root):
        name = resolved.relative_to(paths.root).as_posix()
    if path.is_file():
        return SourceInfo(path=name, version=md5_of(path), bytes=path.stat().st_size)
    folder = tracked_folder(path, paths.root)
    return SourceInfo(
        path=name,
        version=folder.version,
        bytes=sum((path / file).stat().st_size for file in folder.md5s),
        files=folder.md5s if folder.has_others else {},
    )
