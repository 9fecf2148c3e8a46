"""Folders of partitions: killed, resumed, spread over a cluster, read from S3; always the same
bytes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import free_port, process, s3_server
from support.projects import BIRD

from creche.data.readers import Block
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.errors import DataError, QuarantineError, UnreachableError
from creche.model.artifact import Model
from creche.project import MANIFEST, MODEL, RunPaths, read_json
from creche.recipe import Recipe
from creche.scoring import batch, engine
from creche.scoring.executors import DaskExecutor, ThreadExecutor
from creche.scoring.jobs import ScoringJob
from creche.scoring.staging import CommitRecord

Raised = tuple[Recipe, RunPaths, object]


@pytest.fixture(scope="module")
def model(trained_run: Raised) -> Model:
    return Model(trained_run[1] / MODEL)


def observations(rows: int, seed: int) -> pa.Table:
    chance = np.random.default_rng(seed)
    table = pa.table(
        {
            "ring": pa.array([f"{seed}-{i}" for i in range(rows)]),
            "island": chance.choice(
                ["Biscoe", "Dream", "Torgersen", "Signy"], rows, p=[0.4, 0.3, 0.29, 0.01]
            ),
            "bill_length_mm": chance.uniform(30, 60, rows),
            "bill_depth_mm": chance.uniform(13, 22, rows),
            "flipper_length_mm": chance.uniform(170, 230, rows),
            "body_mass_g": chance.uniform(1990, 6300, rows),
        }
    )
    return table


@pytest.fixture(scope="module")
def partitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("in") / "birds"
    for i in range(8):
        folder = root / f"year={2020 + i // 4}" / f"site={i % 4}"
        folder.mkdir(parents=True)
        pq.write_table(observations(30_000, i), folder / "part.parquet")
    return root


def content(out: Path) -> dict[str, bytes]:
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file() and p.name != MANIFEST
    }


@pytest.fixture(scope="module")
def undisturbed(model: Model, partitions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "undisturbed"
    batch.score(find_sources([str(partitions)]), model, "1", out)
    return out


def test_predictions_mirror_the_folder_and_know_their_keys(undisturbed: Path) -> None:
    files = sorted(
        p.relative_to(undisturbed).as_posix() for p in undisturbed.glob("predictions/**/*.parquet")
    )
    assert files[0] == "predictions/year=2020/site=0/part.parquet"
    assert len(files) == 8
    assert pq.ParquetFile(undisturbed / files[5]).schema_arrow.names[-8:-6] != []
    table = pq.ParquetFile(undisturbed / files[5]).read()
    assert set(table["year"].to_pylist()) == {"2021"}
    manifest = read_json(undisturbed / MANIFEST)
    assert manifest["rows"] == 240_000 == manifest["scored"] + manifest["quarantined"]
    assert (
        manifest["quarantined"] == pq.read_table(undisturbed / "quarantine.parquet").num_rows > 2000
    )


def test_file_tells_the_model_it_is_of(undisturbed: Path, model: Model) -> None:
    told = pq.read_schema(next(undisturbed.glob("predictions/**/*.parquet"))).metadata
    assert told[b"creche.model_digest"].decode() == model.digest


def test_file_of_the_users_own_among_the_predictions_is_left_alone(
    model: Model, tmp_path: Path
) -> None:
    for i in range(2):
        pq.write_table(observations(10, i), tmp_path / f"{i}.parquet")
    both = find_sources([str(tmp_path / "?.parquet")])
    batch.score(both, model, "1", tmp_path / "out")
    note = tmp_path / "out" / "predictions" / "note.txt"
    note.write_text("mine")
    with pytest.raises(DataError, match=r"predictions/note\.txt', which no scoring left there"):
        batch.score(both, model, "1", tmp_path / "out")
    assert note.read_text() == "mine"


@pytest.mark.parametrize("rows", [1, 777, 30_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_change_no_byte(
    rows: int, threads: int, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(observations(3000, 1), tmp_path / "in.parquet", row_group_size=1000)
    batch.score(find_sources([str(tmp_path / "in.parquet")]), model, "1", tmp_path / "a")
    monkeypatch.setattr("creche.data.readers.base.BATCH_ROWS", rows)
    monkeypatch.setattr("creche.scoring.blocks.processors", lambda: threads)
    batch.score(find_sources([str(tmp_path / "in.parquet")]), model, "1", tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


CELLS = st.sampled_from(
    ["Dream", "Mars", "", "44.1", "4,2", "nan", "-1", '"a\nb"', "é", "1e400", "x,y", "200", "5000"]
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.one_of(st.just(list(BIRD.values())), st.lists(CELLS, min_size=5, max_size=5)),
        min_size=1,
        max_size=60,
    ),
    block=st.integers(120, 4000),
    threads=st.integers(1, 3),
)
def test_wherever_a_csv_is_cut_into_blocks_the_same_comes_out(
    model: Model, rows: list[list[str]], block: int, threads: int
) -> None:
    lines = [
        ",".join(BIRD),
        *(",".join(row) for row in [*rows, *[list(BIRD.values())] * len(rows)]),
    ]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        (folder / "in.csv").write_text("\n".join(lines), encoding="utf-8")
        for out in ("a", "b"):
            with suppress(QuarantineError):
                batch.score(find_sources([str(folder / "in.csv")]), model, "1", folder / out)
            patch.setattr("creche.data.table_reader.BLOCK_BYTES", block)
            patch.setattr("creche.scoring.blocks.processors", lambda: threads)
        assert content(folder / "a") == content(folder / "b")
        manifest = read_json(folder / "a" / MANIFEST)
        assert (
            manifest["scored"] + manifest["withheld"] + manifest["quarantined"]
            == manifest["rows"]
            == len(lines) - 1
        )


def test_killed_scoring_goes_on_and_ends_with_the_same_bytes(
    model: Model, partitions: Path, undisturbed: Path, tmp_path: Path
) -> None:
    chance, out, kills = random.Random(0), tmp_path / "out", 0
    shutil.copy(model.path, tmp_path / "m.onnx")
    words = ["score", str(partitions), "--model", str(tmp_path / "m.onnx"), "--out", str(out)]
    command = [sys.executable, "-m", "creche.cli", *words]
    for whole in range(6):  # killed when so many partitions are whole, and a little later
        run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while len(list(out.glob(".creche-work/commits/*.json"))) < whole and run.poll() is None:
            time.sleep(0.001)
        time.sleep(0.05 * chance.random())
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
        if (out / MANIFEST).exists():  # it had come to its end
            break
    stamps = {p: p.stat().st_mtime_ns for p in out.glob(".creche-work/predictions/**/*.parquet")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills >= 3
    for path, stamp in stamps.items():  # what was whole was not scored again
        whole = out / path.relative_to(out / ".creche-work")
        assert whole.stat().st_mtime_ns == stamp
    ours = {k: v for k, v in content(out).items() if k != "quarantine.parquet"}
    theirs = {k: v for k, v in content(undisturbed).items() if k != "quarantine.parquet"}
    versions = (
        pq.ParquetFile(pa.BufferReader(v)).read().drop(["model_version"]) for v in ours.values()
    )
    assert [v.num_rows for v in versions] == [
        pq.ParquetFile(pa.BufferReader(v)).metadata.num_rows for v in theirs.values()
    ]
    assert not (out / ".creche-work").exists()
    batch.score(
        find_sources([str(partitions)]), Model(tmp_path / "m.onnx"), "file", tmp_path / "again"
    )
    assert content(out) == content(tmp_path / "again")


def test_two_scorings_into_one_folder_do_not_meet(
    model: Model, partitions: Path, tmp_path: Path
) -> None:
    sources = find_sources([str(partitions)])

    class Nested(ThreadExecutor):
        def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
            with pytest.raises(DataError, match="is being scored into by another process"):
                batch.score(sources, model, "1", tmp_path / "out")
            return super().run(jobs)

    manifest = batch.score(sources, model, "1", tmp_path / "out", executor=Nested())
    assert manifest.state == "scored"


def test_file_that_changes_while_it_is_read_is_not_published(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "in.parquet"
    pq.write_table(observations(100, 0), file)
    original = engine.Engine.score

    def grown(self: engine.Engine, block: Block) -> engine.ScoredBlock:
        file.write_bytes(file.read_bytes() + b"more")
        return original(self, block)

    monkeypatch.setattr(engine.Engine, "score", grown)
    with pytest.raises(DataError, match="changed while it was being scored"):
        batch.score(find_sources([str(file)]), model, "1", tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_disk_that_fills_publishes_nothing_and_the_next_try_goes_on(
    model: Model, partitions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    out.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=5m", "none", out], capture_output=True
        ).returncode
    ):
        pytest.skip("no small file system can be mounted here")
    try:
        with pytest.raises(DataError, match=r"nothing was published, start it again to go on"):
            batch.score(find_sources([str(partitions)]), model, "1", out)
        assert not (out / MANIFEST).exists()
        subprocess.run(["mount", "-o", "remount,size=100m", out], check=True)
        assert batch.score(find_sources([str(partitions)]), model, "1", out).rows == 240_000
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.parametrize("kill", [False, True])
def test_dask_cluster_gives_the_same_bytes_though_a_worker_dies(
    kill: bool, model: Model, partitions: Path, undisturbed: Path, tmp_path: Path
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = (
        [sys.executable, "-m", "distributed.cli.dask_scheduler"],
        [sys.executable, "-m", "distributed.cli.dask_worker"],
    )
    quiet = {"PYTHONWARNINGS": "ignore", "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
    worker = [
        *dask[1],
        address,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--local-directory",
        str(tmp_path),
        "--no-nanny",
    ]
    scheduler = [*dask[0], "--host", address, "--no-dashboard"]
    with (
        process(*scheduler, **quiet),
        process(*worker, **quiet) as victim,
        process(*worker, **quiet),
    ):

        def on_file(done: int, _: int) -> None:
            if kill and done == 1:
                victim.kill()

        manifest = batch.score(
            find_sources([str(partitions)]),
            model,
            "1",
            tmp_path / "out",
            executor=DaskExecutor(address),
            on_file=on_file,
        )
    assert manifest.rows == 240_000
    assert content(tmp_path / "out") == content(undisturbed)


def test_scheduler_that_does_not_answer_is_named(
    model: Model, partitions: Path, tmp_path: Path
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=f"no Dask scheduler answers at {address}"):
        batch.score(
            find_sources([str(partitions)]),
            model,
            "1",
            tmp_path / "out",
            executor=DaskExecutor(address),
        )


def test_s3_is_read_as_a_folder_is(
    model: Model,
    partitions: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(partitions, tmp_path / "s3/bucket/birds")
    with s3_server(tmp_path / "s3", monkeypatch):
        sources = find_sources(["s3://bucket/birds"])
        assert [s.relative for s in sources] == [
            s.relative for s in find_sources([str(partitions)])
        ]
        batch.score(sources, model, "1", tmp_path / "out")
    theirs = {k: v for k, v in content(undisturbed).items() if k.startswith("predictions")}
    assert {
        k: v for k, v in content(tmp_path / "out").items() if k.startswith("predictions")
    } == theirs


def test_glob_keeps_the_folders_below_its_fixed_part(partitions: Path) -> None:
    sources = find_sources([f"{partitions}/year=2021/*/part.parquet"])
    assert [s.relative for s in sources] == [f"site={i}/part.parquet" for i in range(4)]


def test_refused_second_scoring_takes_nothing_from_the_first(model: Model, tmp_path: Path) -> None:
    pq.write_table(observations(50, 0), tmp_path / "in.parquet")
    sources = find_sources([str(tmp_path / "in.parquet")])

    class Meanwhile(ThreadExecutor):
        def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
            with pytest.raises(DataError, match="by another process"):
                batch.score(sources, model, "1", tmp_path / "out")
            assert jobs[0].staging.path.is_dir()
            return super().run(jobs)

    manifest = batch.score(sources, model, "1", tmp_path / "out", executor=Meanwhile())
    assert manifest.rows == 50


def test_leavings_of_another_scoring_are_not_published(model: Model, tmp_path: Path) -> None:
    for name in "abc":
        pq.write_table(observations(50, 0), tmp_path / f"{name}.parquet")

    def stop(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.score(
            find_sources([f"{tmp_path}/[ab].parquet"]), model, "1", tmp_path / "out", on_file=stop
        )
    batch.score(find_sources([f"{tmp_path}/[bc].parquet"]), model, "1", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out/predictions").iterdir()) == [
        "b.parquet",
        "c.parquet",
    ]


def test_no_row_is_scored_twice(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    pq.write_table(observations(5, 0), tmp_path / "in/sub/b.parquet")
    (tmp_path / "in/sub/b.parquet.bak").write_bytes(b"old")
    with pytest.raises(DataError, match="is named twice"):
        find_sources([str(tmp_path / "in"), str(tmp_path / "in/sub/b.parquet")])
    assert [s.relative for s in find_sources([str(tmp_path / "in")])] == ["sub/b.parquet"]


def test_column_of_the_file_comes_before_a_key_of_its_path(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "island=Biscoe"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(",".join(BIRD) + "\n" + ",".join(BIRD.values()) + "\n")
    (folder / "b.jsonl").write_text(json.dumps(BIRD) + "\n")
    pq.write_table(pa.table({n: [v] for n, v in BIRD.items()}), folder / "c.parquet")
    for source in find_sources([str(tmp_path / "in")]):
        assert TableReader(source, model.contract).read_all().values["island"].to_pylist() == [
            "Dream"
        ]


def test_word_that_names_nothing_is_refused(tmp_path: Path) -> None:
    for word in (str(tmp_path), f"{tmp_path}/*.csv"):
        with pytest.raises(DataError, match="no file of observations there"):
            find_sources([word])


def test_partition_key_stands_in_for_a_column(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "island=Dream"
    folder.mkdir(parents=True)
    (folder / "x.csv").write_text(
        ",".join(list(BIRD)[1:]) + "\n" + ",".join(list(BIRD.values())[1:]) + "\n"
    )
    source = find_sources([str(tmp_path / "in")])[0]
    assert TableReader(source, model.contract).read_all().values["island"].to_pylist() == ["Dream"]
    assert batch.score([source], model, "1", tmp_path / "out").labels == {"Chinstrap": 1}
