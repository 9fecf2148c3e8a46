"""Stale files and prunable versions, in real stores and run folders."""

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

SECONDS_PER_DAY = 86_400


@pytest.fixture
def paths(project: Path) -> RunPaths:
    return ProjectPaths.find(project)


def set_age(path: Path, days: float) -> Path:
    """Set when a folder and all in it were modified."""
    modified = time.time() - days * SECONDS_PER_DAY
    for entry in (*path.rglob("*"), path):
        os.utime(entry, (modified, modified))
    return path


def run_folder(paths: RunPaths, name: str, shade: int) -> Path:
    """Create the folder of a run on images of one shade, 100 days old."""
    folder = paths.home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    table = pa.table({"image": images.as_column(np.full((3, 2, 2, 1), shade, np.uint8))})
    pq.write_table(pixel_store.detach_pixels(table, "image", paths), folder / "split.parquet")
    set_age(paths.home / pixel_store.PIXELS_FOLDER, 100)
    return set_age(folder, 100)


def start_run(paths: RunPaths, name: str) -> registry.TrackedRun:
    return registry.TrackedRun.start("penguins", name, {}, {"run": name}, paths)


def finish_run_with_verdict(paths: RunPaths, name: str) -> None:
    run = start_run(paths, name)
    run.set_tag("verdict", "REJECT")
    run.finish("FINISHED")


def test_unreferenced_run_folder_is_deleted_with_its_pixels(paths: RunPaths) -> None:
    registry.create_version("penguins", "file:///a", {"run": "of a version"}, paths)
    finish_run_with_verdict(paths, "earlier verdict")
    finish_run_with_verdict(paths, "last verdict")
    start_run(paths, "running")
    referenced = []
    for i, name in enumerate(("of a version", "last verdict", "running", "running-train")):
        referenced.append(run_folder(paths, name, shade=i))
    stale = []
    for i, name in enumerate(("earlier verdict", "failed", "old-train"), 100):
        stale.append(run_folder(paths, name, shade=i))
    recent = set_age(run_folder(paths, "recent", shade=200), 50)
    stale_bytes = sum(map(size_of, stale))
    deleted = delete_stale_files(90, paths)
    deleted_runs = {path: size for path, size in deleted if path.parent.name == "runs"}
    assert set(deleted_runs) == set(stale)
    assert sum(deleted_runs.values()) == stale_bytes
    deleted_pixels = [p for p, _ in deleted if p.parent.name == pixel_store.PIXELS_FOLDER]
    assert len(deleted_pixels) == len(stale)
    for folder in (*referenced, recent):
        assert pixel_store.read_table(folder / "split.parquet", paths).num_rows == 3
    assert delete_stale_files(90, paths) == []


def test_old_checkpoints_and_temporary_files_are_deleted(paths: RunPaths) -> None:
    for name, days in (
        ("old.safetensors", 91),
        ("old.good.safetensors", 91),
        ("young.safetensors", 89),
    ):
        path = paths.home / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        set_age(path, days)
    for name, days in (("left", 1.1), ("in-use", 0.9)):
        (paths.home / "tmp" / name).mkdir(parents=True)
        (paths.home / "tmp" / name / "file").write_text("x")
        set_age(paths.home / "tmp" / name, days)
    assert sorted(p.name for p, _ in delete_stale_files(90, paths)) == [
        "left",
        "old.good.safetensors",
        "old.safetensors",
    ]


def test_nothing_modified_within_a_day_is_deleted(paths: RunPaths) -> None:
    registry.create_version("penguins", "file:///a", {}, paths)
    set_age(run_folder(paths, "under way", 1), 0.9)
    old = run_folder(paths, "old", 2)
    # Modified just now, and no table that pyarrow can read.
    (old / "quarantine.parquet").write_text("not Parquet")
    # Pixels of the run are referenced again.
    table = pa.table({"image": images.as_column(np.full((3, 2, 2, 1), 1, np.uint8))})
    pixel_store.detach_pixels(table, "image", paths)
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
    scored_version = registry.registered_version("penguins", scored, paths)
    assert scored_version is not None
    reference = ModelReference(
        recipe="penguins",
        version=scored,
        digest=scored_version.digest,
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
        ood_scores=[],
        inputs=[],
        skipped=[],
        hidden_files=0,
        seconds=0.0,
    )
    append_to_log(paths.root / "out", manifest, paths)
    assert [v.version for v in prunable_versions("penguins", 0, paths)] == [latest, spare]
    assert [v.version for v in prunable_versions("penguins", 1, paths)] == [spare]
    (prunable,) = prunable_versions("penguins", 1, paths)
    stored = [p for p in paths.home.rglob("model.onnx") if sha256_of(p) == prunable.digest]
    assert stored
    registry.delete_version(prunable, paths)
    assert registry.registered_version("penguins", spare, paths) is None
    assert not any(p.exists() for p in [*stored, prunable.path])
    for version in (first, second, scored, latest):
        remaining = registry.registered_version("penguins", version, paths)
        assert remaining is not None
        assert sha256_of(remaining.path) == remaining.digest
    assert prunable_versions("penguins", 1, paths) == []
