"""What the prune flow deletes, and what it leaves: real stores, real run folders."""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from creche import registry
from creche.data import images
from creche.pipeline.review import bytes_of, clear, stale_files
from creche.project import ProjectPaths


@pytest.fixture
def paths(project: Path) -> ProjectPaths:
    return ProjectPaths(project, project / "var", project)


def aged(path: Path, days: float) -> Path:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - days * 86400,) * 2)
    return path


def run_folder(paths: ProjectPaths, name: str, shade: int) -> Path:
    """The folder of a run that saw pictures of one shade, 100 days old."""
    folder = paths.home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    table = pa.table({"image": images.as_column(np.full((3, 2, 2, 1), shade, np.uint8))})
    pq.write_table(images.detach(table, "image", paths), folder / "split.parquet")
    aged(paths.home / images.PIXELS, 100)
    return aged(folder, 100)


def begun(paths: ProjectPaths, name: str) -> registry.TrackedRun:
    return registry.TrackedRun.begin("penguins", name, {}, {"run": name}, paths)


def judged(paths: ProjectPaths, name: str) -> None:
    run = begun(paths, name)
    run.tag("verdict", "REJECT")
    run.finish("FINISHED")


def test_folder_that_nobody_leans_on_goes_with_its_pixels(paths: ProjectPaths) -> None:
    registry.add_version("penguins", "file:///a", {"run": "of a version"}, paths)
    judged(paths, "judged before")
    judged(paths, "judged last")
    begun(paths, "at work")
    kept = [
        run_folder(paths, n, i)
        for i, n in enumerate(("of a version", "judged last", "at work", "at work-train"))
    ]
    gone = [
        run_folder(paths, n, i) for i, n in enumerate(("judged before", "failed", "old-train"), 100)
    ]
    fresh = aged(run_folder(paths, "fresh", 200), 50)
    before = sum(map(bytes_of, gone))
    cleared = clear(90, paths)
    assert {p for p, _ in cleared if p.parent.name == "runs"} == set(gone)
    assert sum(size for p, size in cleared if p.parent.name == "runs") == before
    assert sum(1 for p, _ in cleared if p.parent.name == images.PIXELS) == len(gone)
    for folder in (*kept, fresh):
        assert images.read(folder / "split.parquet", paths).num_rows == 3
    assert clear(90, paths) == []


def test_checkpoints_go_by_their_age_and_what_was_put_down_for_a_moment_after_a_day(
    paths: ProjectPaths,
) -> None:
    for name, days in (
        ("old.safetensors", 91),
        ("old.good.safetensors", 91),
        ("young.safetensors", 89),
    ):
        path = paths.home / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        aged(path, days)
    for name, days in (("left", 1.1), ("at-work", 0.9)):
        (paths.home / "tmp" / name).mkdir(parents=True)
        (paths.home / "tmp" / name / "file").write_text("x")
        aged(paths.home / "tmp" / name, days)
    assert sorted(p.name for p, _ in clear(90, paths)) == [
        "left",
        "old.good.safetensors",
        "old.safetensors",
    ]


def test_nothing_of_the_last_day_goes_however_few_days_are_asked_for(paths: ProjectPaths) -> None:
    registry.add_version("penguins", "file:///a", {}, paths)
    aged(run_folder(paths, "under way", 1), 0.9)
    old = run_folder(paths, "old", 2)
    (old / "quarantine.parquet").write_text("written now")  # and no table that pyarrow can read
    images.detach(
        pa.table({"image": images.as_column(np.full((3, 2, 2, 1), 1, np.uint8))}), "image", paths
    )  # in use again
    assert [p for p in stale_files(0, paths) if p.parent.name == "runs"] == []


def test_without_a_store_no_run_is_taken_for_forgotten(paths: ProjectPaths) -> None:
    run_folder(paths, "of another store", 1)
    assert list(stale_files(0, paths)) == []
