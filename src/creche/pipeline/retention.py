"""Find model versions that nothing needs; find and delete files that nothing refers to."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

import pyarrow as pa
import pyarrow.parquet as pq

from creche import registry
from creche.data import pixel_store
from creche.data.sql_snapshot import SNAPSHOTS_FOLDER
from creche.errors import DataError
from creche.project import CHECKPOINTS, SOURCE, TMP, ProjectPaths, read_record, recipe_names
from creche.records import SourceInfo
from creche.registry import ModelVersion, promotion_log
from creche.scoring.scoring_log import impact

DAY = 86400.0  # seconds; a file that was modified within one may be in use


def prunable_versions(recipe: str, keep: int, paths: ProjectPaths) -> list[ModelVersion]:
    """Return the versions that nothing needs, the latest first.

    They were never champion, have no scoring on record on this machine, and are not among the
    latest.

    Args:
        keep: number of the latest versions that stay in any case.
    """
    needed = {entry.version for entry in promotion_log.entries(recipe, paths)}
    needed.add(registry.champion_version(recipe, paths) or "")
    scored = {entry.model.digest for entry in impact(paths, recipe)}
    versions = registry.list_versions(paths, recipe)
    versions.sort(key=lambda stored: stored.version, reverse=True)
    prunable = []
    for stored in versions[keep:]:
        number = str(stored.version)
        digest = stored.tags.get("digest")
        if number in needed or digest is None or digest in scored:
            continue
        path = registry.cached_model_path(digest, paths)
        prunable.append(ModelVersion(recipe, number, digest, path, stored.tags))
    return prunable


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(status.st_size for status in _statuses(path) if S_ISREG(status.st_mode))


def last_modified(path: Path) -> float:
    """Return when a file, or anything in a folder, was last modified (s since the epoch)."""
    return max((status.st_mtime for status in _statuses(path)), default=time.time())


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of a file, or of a folder and everything in it."""
    for each in (path, *path.rglob("*")):
        # Other processes rename and delete files meanwhile.
        with suppress(FileNotFoundError):
            yield each.lstat()


def stale_files(days: float, paths: ProjectPaths) -> Iterator[Path]:
    """Yield files and folders of runs that nothing refers to any more.

    These are folders of runs and checkpoints older than `days`, pixels that no table refers to,
    snapshots of queries that no run of those that stay has read, and temporary files; nothing that
    was modified within a day.
    """
    now = time.time()
    oldest = now - max(days, 1) * DAY
    yield from _modified_before(now - DAY, paths.home / TMP)
    yield from _modified_before(oldest, paths.home / CHECKPOINTS)
    if not registry.store_exists(paths):
        # Another store may refer to the runs of this machine.
        return
    needed_runs = _needed_runs(paths)
    needed_pixels = _referenced_pixels(paths.root / "experiments")
    needed_sources = _read_sources(paths.root / "experiments")
    for run in sorted((paths.home / "runs").glob("*")):
        if run.name in needed_runs or last_modified(run) > oldest:
            needed_pixels |= _referenced_pixels(run)
            needed_sources |= _read_sources(run)
        else:
            yield run
    for pixels in _modified_before(now - DAY, paths.home / pixel_store.PIXELS_FOLDER):
        if pixels.stem not in needed_pixels:
            yield pixels
    for snapshot in _modified_before(now - DAY, paths.home / SNAPSHOTS_FOLDER):
        if snapshot.name not in needed_sources:
            yield snapshot


def _modified_before(time_limit: float, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*")):
        if last_modified(path) < time_limit:
            yield path


def _needed_runs(paths: ProjectPaths) -> set[str]:
    """Return the runs that a version, the last verdict of a recipe, or a run under way needs."""
    versions = registry.list_versions(paths)
    needed = set()
    for stored in versions:
        if registry.RUN_ID_TAG in stored.tags:
            needed.add(stored.tags[registry.RUN_ID_TAG])
    recipes = {stored.name for stored in versions}
    recipes.update(recipe_names(paths.root))
    for recipe in recipes:
        judged = registry.last_judged_run(recipe, paths)
        if judged is not None:
            needed.add(judged.run_id)
    for run in registry.unfinished_runs(paths):
        # A training on another machine has a folder of its own.
        needed |= {run.name, f"{run.name}-train"}
    return needed


def _referenced_pixels(folder: Path) -> set[str]:
    """Return the pixel files that the tables in a folder refer to."""
    names = set()
    for path in folder.rglob("*.parquet"):
        # A file that cannot be read refers to nothing.
        with suppress(pa.ArrowInvalid, FileNotFoundError):
            metadata = pq.read_schema(path).metadata or {}
            reference = metadata.get(pixel_store.PIXELS_KEY, b"").decode()
            names.add(reference.rpartition("/")[2])
    return names


def _read_sources(folder: Path) -> set[str]:
    """Return the names of the files that the runs in a folder have read."""
    names = set()
    for path in folder.rglob(SOURCE):
        # A record that cannot be read refers to nothing.
        with suppress(DataError, FileNotFoundError):
            names.add(Path(read_record(path, SourceInfo).path).name)
    return names


def delete_stale_files(days: float, paths: ProjectPaths) -> list[tuple[Path, int]]:
    """Delete the stale files; return each path with its size in bytes."""
    deleted = []
    for path in list(stale_files(days, paths)):
        size = size_of(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        deleted.append((path, size))
    return deleted
