"""The same bytes on any number of threads, in blocks of any size, and on a Dask cluster."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.observations import observations, published_bytes, score_paths
from support.processes import free_port, process
from support.projects import BIRD

from creche.data.sources import find_sources
from creche.errors import QuarantineError, UnreachableError
from creche.model.artifact import Model
from creche.project import MANIFEST
from creche.reporting.scoring_page import scoring_page
from creche.scoring import batch, executors
from creche.scoring.executors import DaskExecutor
from creche.scoring.manifest import read_manifest


@pytest.mark.parametrize("block_rows", [1, 777, 30_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_change_no_byte(
    block_rows: int, threads: int, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(observations(3000, 1), source, row_group_size=1000)
    score_paths([source], model, tmp_path / "a")
    monkeypatch.setattr("creche.data.readers.base.BATCH_ROWS", block_rows)
    monkeypatch.setattr("creche.scoring.blocks.processors", lambda: threads)
    score_paths([source], model, tmp_path / "b")
    assert published_bytes(tmp_path / "a") == published_bytes(tmp_path / "b")


CELLS = st.sampled_from(
    ["Dream", "Mars", "", "44.1", "4,2", "nan", "-1", '"a\nb"', "é", "1e400", "x,y", "200", "5000"]
)
GOOD_ROW = list(BIRD.values())
ROW = st.one_of(st.just(GOOD_ROW), st.lists(CELLS, min_size=5, max_size=5))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rows=st.lists(ROW, min_size=1, max_size=60),
    block_bytes=st.integers(120, 4000),
    threads=st.integers(1, 3),
)
def test_blocks_of_a_csv_change_no_byte_and_lose_no_row(
    model: Model, rows: list[list[str]], block_bytes: int, threads: int
) -> None:
    rows = [*rows, *[GOOD_ROW] * len(rows)]
    lines = [",".join(BIRD), *(",".join(row) for row in rows)]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        (folder / "in.csv").write_text("\n".join(lines), encoding="utf-8")
        for out in ("a", "b"):
            with suppress(QuarantineError):
                score_paths([folder / "in.csv"], model, folder / out)
            # The second scoring has other blocks and threads.
            patch.setattr("creche.data.readers.csv.BLOCK_BYTES", block_bytes)
            patch.setattr("creche.scoring.blocks.processors", lambda: threads)
        assert published_bytes(folder / "a") == published_bytes(folder / "b")
        manifest = read_manifest(folder / "a" / MANIFEST)
    assert manifest.rows == len(rows)
    assert manifest.scored + manifest.withheld + manifest.quarantined == manifest.rows


@pytest.mark.parametrize("is_killed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_dask_cluster_gives_the_same_bytes_though_a_worker_dies(
    is_killed: bool, model: Model, partitions: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    quiet = {"PYTHONWARNINGS": "ignore", "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address]
    scheduler += ["--no-dashboard"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    worker += ["--no-dashboard", "--local-directory", str(tmp_path), "--no-nanny"]
    with (
        process(*scheduler, **quiet),
        process(*worker, **quiet) as victim,
        process(*worker, **quiet),
    ):

        def on_file(done: int, _total: int) -> None:
            if is_killed and done == 1:
                victim.kill()

        manifest = batch.score(
            find_sources([str(partitions)]),
            model,
            "1",
            tmp_path / "out",
            executor=DaskExecutor(address),
            on_file=on_file,
            page_of=scoring_page,
        )
    assert manifest.rows == 240_000
    assert published_bytes(tmp_path / "out") == published_bytes(uninterrupted)


def test_scheduler_that_does_not_respond_is_named(
    model: Model, partitions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "DASK_TIMEOUT", "1s")
    address = f"tcp://127.0.0.1:{free_port()}"
    sources = find_sources([str(partitions)])
    with pytest.raises(UnreachableError, match=f"no Dask scheduler responds at {address}"):
        batch.score(sources, model, "1", tmp_path / "out", executor=DaskExecutor(address))
