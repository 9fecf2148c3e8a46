"""Interrupted scorings resume, two do not mix, and nothing half-done is published."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.observations import observations, published_bytes, score_paths
from support.projects import BIRD

from creche.data.readers import Block
from creche.data.sources import find_sources
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MANIFEST, QUARANTINE
from creche.scoring import batch, engine
from creche.scoring.executors import ThreadExecutor
from creche.scoring.jobs import ScoringJob
from creche.scoring.staging import STAGING_DIRECTORY, CommitRecord

KILLS = 6

full_info = MemoryFileSystem.info


def kill_after_commits(command: list[str], out: Path, commits: int, delay: float) -> bool:
    """Start a scoring, and kill it `delay` seconds after so many files are committed.

    Returns:
        Whether it was killed before it ended.
    """
    scoring = subprocess.Popen(command, cwd=out.parent, stdout=subprocess.DEVNULL)
    while scoring.poll() is None:
        if len(list(out.glob(f"{STAGING_DIRECTORY}/commits/*.json"))) >= commits:
            break
        time.sleep(0.001)
    time.sleep(delay)
    if scoring.poll() is not None:
        return False
    scoring.send_signal(signal.SIGKILL)
    scoring.wait()
    return True


def test_killed_scoring_resumes_and_publishes_the_same_bytes(
    model: Model, partitions: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    out = tmp_path / "out"
    shutil.copy(model.path, tmp_path / "m.onnx")
    arguments = [str(partitions), "--model", str(tmp_path / "m.onnx"), "--out", str(out)]
    command = [sys.executable, "-m", "creche.cli", "score", *arguments]
    kills = 0
    for commits in range(KILLS):
        kills += kill_after_commits(command, out, commits, 0.05 * chance.random())
        if (out / MANIFEST).exists():
            break
    assert kills >= 3
    staging = out / STAGING_DIRECTORY
    modified = {}
    for path in staging.glob("predictions/**/*.parquet"):
        modified[path.relative_to(staging)] = path.stat().st_mtime_ns
    last = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    # What was whole was not scored again.
    for name, time_ns in modified.items():
        assert (out / name).stat().st_mtime_ns == time_ns
    assert not staging.exists()
    # Its model has another version than that of the fixture, so a third scoring is compared.
    score_paths([partitions], Model(tmp_path / "m.onnx"), tmp_path / "again", "file")
    assert published_bytes(out) == published_bytes(tmp_path / "again")
    assert published_bytes(out).keys() == published_bytes(uninterrupted).keys()
    for path in out.glob("predictions/**/*.parquet"):
        expected = pq.ParquetFile(uninterrupted / path.relative_to(out)).read()
        published = pq.ParquetFile(path).read()
        assert published.drop(["model_version"]).equals(expected.drop(["model_version"]))


def test_two_scorings_into_one_folder_do_not_mix(
    model: Model, partitions: Path, tmp_path: Path
) -> None:
    sources = find_sources([str(partitions)])

    class Nested(ThreadExecutor):
        def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
            with pytest.raises(DataError, match="is being scored into by another process"):
                batch.score(sources, model, "1", tmp_path / "out")
            # The second scoring, which was refused, leaves the first one's directory alone.
            assert jobs[0].staging.path.is_dir()
            return super().run(jobs)

    manifest = batch.score(sources, model, "1", tmp_path / "out", executor=Nested())
    assert (manifest.state, manifest.rows) == ("scored", 240_000)


def test_file_that_changes_while_it_is_read_is_not_published(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "in.parquet"
    pq.write_table(observations(100, 0), file)
    original = engine.Engine.score

    def score_and_append(self: engine.Engine, block: Block) -> engine.ScoredBlock:
        file.write_bytes(file.read_bytes() + b"more")
        return original(self, block)

    monkeypatch.setattr(engine.Engine, "score", score_and_append)
    with pytest.raises(DataError, match="changed while it was being scored"):
        score_paths([file], model, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_full_disk_publishes_nothing_and_the_next_scoring_resumes(
    model: Model, partitions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(out)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted")
    try:
        with pytest.raises(DataError, match=r"nothing was published, start it again to go on"):
            score_paths([partitions], model, out)
        assert not (out / MANIFEST).exists()
        subprocess.run(["mount", "-o", "remount,size=100m", out], check=True)
        assert score_paths([partitions], model, out).rows == 240_000
    finally:
        subprocess.run(["umount", out], check=True)


def test_publication_that_fails_halfway_is_reported_and_completed_by_the_next_scoring(
    model: Model, tmp_path: Path
) -> None:
    file = tmp_path / "in.parquet"
    pq.write_table(observations(100, 0), file)
    out = tmp_path / "out"
    score_paths([file], model, out)
    expected = published_bytes(out)
    (out / QUARANTINE).unlink()
    (out / QUARANTINE).mkdir()
    with pytest.raises(DataError, match="incomplete and have no manifest: run the same command"):
        score_paths([file], model, out)
    assert not (out / MANIFEST).exists()
    (out / QUARANTINE).rmdir()
    score_paths([file], model, out)
    assert published_bytes(out) == expected


def test_files_of_another_interrupted_scoring_are_not_published(
    model: Model, tmp_path: Path
) -> None:
    for name in "abc":
        pq.write_table(observations(50, 0), tmp_path / f"{name}.parquet")

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    sources = find_sources([f"{tmp_path}/[ab].parquet"])
    with pytest.raises(KeyboardInterrupt):
        batch.score(sources, model, "1", tmp_path / "out", on_file=interrupt)
    score_paths([tmp_path / "[bc].parquet"], model, tmp_path / "out")
    published = [path.name for path in (tmp_path / "out/predictions").iterdir()]
    assert sorted(published) == ["b.parquet", "c.parquet"]


def test_batch_without_rows_leaves_the_earlier_scoring(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    out = tmp_path / "out"
    pq.write_table(observations(100, 0), file)
    score_paths([file], model, out)
    earlier = published_bytes(out)
    manifest = (out / MANIFEST).read_bytes()
    pq.write_table(observations(0, 0), file)
    with pytest.raises(DataError, match="no rows to score"):
        score_paths([file], model, out)
    assert published_bytes(out) == earlier
    assert (out / MANIFEST).read_bytes() == manifest
    assert not (out / STAGING_DIRECTORY).exists()


def test_damaged_commit_record_is_not_used(model: Model, tmp_path: Path) -> None:
    for name in "ab":
        pq.write_table(observations(50, 0), tmp_path / f"{name}.parquet")
    commit = tmp_path / "out" / STAGING_DIRECTORY / "commits/0.json"

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    sources = find_sources([f"{tmp_path}/*.parquet"])
    for damaged in ("", "{}", '{"key": {"file": 1}}', "[]"):
        with pytest.raises(KeyboardInterrupt):
            batch.score(sources, model, "1", tmp_path / "out", on_file=interrupt)
        assert commit.stat().st_size > 100
        commit.write_text(damaged)
    assert batch.score(sources, model, "1", tmp_path / "out").rows == 100


@pytest.mark.parametrize("states_change", [True, False])
def test_overwritten_remote_file_of_the_same_size_is_scored_again(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states_change: bool
) -> None:
    if not states_change:
        monkeypatch.setattr(MemoryFileSystem, "info", info_without_time)
    files = MemoryFileSystem()
    header, row = ",".join(BIRD), ",".join(BIRD.values())
    for name in "ab":
        files.pipe(f"/overwritten/{name}.csv", f"{header}\n{row}\n".encode())
    sources = find_sources(["memory://overwritten/*.csv"])
    assert sources[0].shows_changes() == states_change

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.score(sources, model, "1", tmp_path / "out", on_file=interrupt)
    other_row = row.replace("5000", "5100")
    files.pipe("/overwritten/a.csv", f"{header}\n{other_row}\n".encode())
    manifest = batch.score(sources, model, "1", tmp_path / "out")
    assert manifest.inputs[0].sha256 == sources[0].sha256()


def info_without_time(files: MemoryFileSystem, path: str, **options: Any) -> dict[str, Any]:
    """What a file system says that knows neither versions nor times."""
    info = full_info(files, path, **options)
    info.pop("created", None)
    return info


def test_unchanged_remote_file_is_not_scored_again(model: Model, tmp_path: Path) -> None:
    files = MemoryFileSystem()
    content = f"{','.join(BIRD)}\n{','.join(BIRD.values())}\n".encode()
    files.pipe("/unchanged/a.csv", content)
    [source] = find_sources(["memory://unchanged/a.csv"])
    assert source.stamp()[0] == len(content)
    assert source.stamp() == source.stamp()
    assert source.shows_changes()


def test_file_of_the_user_among_the_predictions_is_left_alone(model: Model, tmp_path: Path) -> None:
    for i in range(2):
        pq.write_table(observations(10, i), tmp_path / f"{i}.parquet")
    both = tmp_path / "?.parquet"
    score_paths([both], model, tmp_path / "out")
    note = tmp_path / "out" / "predictions" / "note.txt"
    note.write_text("a note")
    with pytest.raises(DataError, match=r"predictions/note\.txt', which no scoring left there"):
        score_paths([both], model, tmp_path / "out")
    assert note.read_text() == "a note"


def test_folder_with_other_files_is_left_alone(model: Model, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(observations(10, 0), source)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("a thesis")
    with pytest.raises(DataError, match=r"out holds 'thesis.tex', which no scoring left there"):
        score_paths([source], model, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_files_named_like_outputs_are_not_outputs_without_a_manifest(
    model: Model, tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(observations(10, 0), source)
    (tmp_path / "out/predictions").mkdir(parents=True)
    (tmp_path / "out/predictions/thesis.csv").write_text("a thesis")
    with pytest.raises(DataError, match="out holds 'predictions'"):
        score_paths([source], model, tmp_path / "out")
    assert (tmp_path / "out/predictions/thesis.csv").read_text() == "a thesis"
