"""What the prune flow deletes, and what it leaves: real stores, real run folders."""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.registry import TrainedRun, register_version, set_champion

from creche import registry
from creche.contract import images
from creche.data import pixel_store
from creche.pipeline.retention import delete_stale_files, prunable_versions, size_of, stale_files
from creche.project import ProjectPaths, RunPaths
from creche.provenance import sha256_of
from creche.records import ModelReference, ScoringManifest
from creche.scoring.scoring_log import append_to_log


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


def aged(path: Path, days: float) -> Path:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - days * 86400,) * 2)
    return path


def run_folder(paths: RunPaths, name: str, shade: int) -> Path:
    """The folder of a run that saw pictures of one shade, 100 days old."""
    folder = paths.home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    table = pa.table({"image": images.as_column(np.full((3, 2, 2, 1), shade, np.uint8))})
    pq.write_table(pixel_store.detach_pixels(table, "image", paths), folder / "split.parquet")
    aged(paths.home / pixel_store.PIXELS_FOLDER, 100)
    return aged(folder, 100)


def begun(paths: RunPaths, name: str) -> registry.TrackedRun:
    return registry.TrackedRun.start("penguins", name, {}, {"run": name}, paths)


def judged(paths: RunPaths, name: str) -> None:
    run = begun(paths, name)
    run.set_tag("verdict", "REJECT")
    run.finish("FINISHED")


def test_unreferenced_run_folder_is_deleted_with_its_pixels(paths: RunPaths) -> None:
    registry.create_version("penguins", "file:///a", {"run": "of a version"}, paths)
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
    before = sum(map(size_of, gone))
    cleared = delete_stale_files(90, paths)
    assert {p for p, _ in cleared if p.parent.name == "runs"} == set(gone)
    assert sum(size for p, size in cleared if p.parent.name == "runs") == before
    assert sum(1 for p, _ in cleared if p.parent.name == pixel_store.PIXELS_FOLDER) == len(gone)
    for folder in (*kept, fresh):
        assert pixel_store.read_table(folder / "split.parquet", paths).num_rows == 3
    assert delete_stale_files(90, paths) == []


def test_old_checkpoints_and_temporary_files_are_deleted(
    paths: RunPaths,
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
    assert sorted(p.name for p, _ in delete_stale_files(90, paths)) == [
        "left",
        "old.good.safetensors",
        "old.safetensors",
    ]


def test_nothing_modified_within_a_day_is_deleted(paths: RunPaths) -> None:
    registry.create_version("penguins", "file:///a", {}, paths)
    aged(run_folder(paths, "under way", 1), 0.9)
    old = run_folder(paths, "old", 2)
    (old / "quarantine.parquet").write_text("written now")  # and no table that pyarrow can read
    pixel_store.detach_pixels(
        pa.table({"image": images.as_column(np.full((3, 2, 2, 1), 1, np.uint8))}), "image", paths
    )  # in use again
    assert [p for p in stale_files(0, paths) if p.parent.name == "runs"] == []


def test_without_a_store_no_run_folder_is_stale(paths: RunPaths) -> None:
    run_folder(paths, "of another store", 1)
    assert list(stale_files(0, paths)) == []


def test_pruning_keeps_champions_scored_versions_and_the_latest(
    trained_run: TrainedRun, paths: RunPaths
) -> None:
    first, second, scored, spare, latest = (
        register_version(trained_run, paths, n) for n in "abcde"
    )
    set_champion(paths, first)
    set_champion(paths, second, "run-2")
    found = registry.resolve("penguins", paths, scored)
    assert found is not None
    reference = ModelReference(
        recipe="penguins",
        version=scored,
        digest=found.digest,
        verdict_id=None,
        data_version="d",
    )
    manifest = ScoringManifest(
        state="scored",
        engine="0",
        model=reference,
        rows=1,
        scored=1,
        quarantined=0,
        withheld=0,
        reasons={},
        labels={},
        inputs=[],
        seconds=0.0,
    )
    append_to_log(paths.root / "out", manifest, paths)
    assert [v.version for v in prunable_versions("penguins", 0, paths)] == [latest, spare]
    assert [v.version for v in prunable_versions("penguins", 1, paths)] == [spare]
    (gone,) = prunable_versions("penguins", 1, paths)
    stored = [p for p in paths.home.rglob("model.onnx") if sha256_of(p) == gone.digest]
    assert stored
    registry.delete_version(gone, paths)
    assert registry.resolve("penguins", paths, spare) is None
    assert not any(p.exists() for p in [*stored, gone.path])
    for version in (first, second, scored, latest):
        kept = registry.resolve("penguins", paths, version)
        assert kept is not None
        assert sha256_of(kept.path) == kept.digest
    assert prunable_versions("penguins", 1, paths) == []
