"""Scorings of many small files: few are open at once, and the order of the outputs is kept."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.observations import published_bytes, score_paths
from support.projects import BIRD

from creche.data.sources import find_sources
from creche.errors import DataError
from creche.model.artifact import Model
from creche.scoring import batch, executors
from creche.scoring.executors import ThreadExecutor
from creche.scoring.jobs import score_file

HEADER, ROW = ",".join(BIRD), ",".join(BIRD.values())
FILES = 300
SPARE_DESCRIPTORS = 60  # fewer than files


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Allow few more open files than there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors + SPARE_DESCRIPTORS, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one to three rows, of which every third has one to refuse, and a column of its own."""
    folder = tmp_path_factory.mktemp("small")
    for number in range(FILES):
        rows = [f"{ROW},{number}"] * (number % 3 + 1)
        if number % 3 == 0:
            rows.append(f"{ROW.replace('Dream', 'Signy')},{number}")
        text = f"{HEADER},ring{number % 5}\n" + "\n".join(rows) + "\n"
        (folder / f"{number:04}.csv").write_text(text)
    return folder


def test_more_files_than_descriptors_are_scored(
    model: Model, small_files: Path, tmp_path: Path
) -> None:
    with few_descriptors():
        manifest = score_paths([small_files], model, tmp_path / "out")
    assert (manifest.rows, manifest.quarantined) == (700, 100)
    assert [entry.rows for entry in manifest.inputs[:4]] == [2, 2, 3, 2]
    quarantine = pq.read_table(tmp_path / "out/quarantine.parquet")
    assert quarantine["source"].to_pylist() == [
        str(small_files / f"{number:04}.csv") for number in range(0, FILES, 3)
    ]
    # Also columns that no refused row has come first where their file does.
    assert quarantine.column_names[:7] == [*BIRD, "ring0", "malformed_line"]
    assert quarantine["ring2"].to_pylist()[4] == "12"


def test_files_at_once_change_no_byte(
    model: Model, small_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = find_sources([str(small_files)])[:40]
    published = []
    for count in (1, 3, 16):
        monkeypatch.setattr(executors, "SMALL_FILES_AT_ONCE", count)
        batch.score(sources, model, "1", tmp_path / f"{count}")
        published.append(published_bytes(tmp_path / f"{count}"))
    assert published[0] == published[1] == published[2]
    assert len(published[0]) == 41

    class InTurn(ThreadExecutor):
        def run(self, jobs):  # type: ignore[no-untyped-def]
            return map(score_file, jobs)

    batch.score(sources, model, "1", tmp_path / "turn", executor=InTurn())
    assert published_bytes(tmp_path / "turn") == published[0]


def test_first_bad_file_is_named_and_the_rest_is_not_begun(
    model: Model, small_files: Path, tmp_path: Path
) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.csv").write_bytes((small_files / "0001.csv").read_bytes())
    for number in (7, 9):
        with (tmp_path / f"{number:02}.csv").open("ab") as file:
            file.write(b"caf\xe9,1,1,1,1,1\n")
    with pytest.raises(DataError, match=r"07\.csv: not UTF-8"):
        score_paths([tmp_path / "*.csv"], model, tmp_path / "out")
    committed = list((tmp_path / "out").glob("*/commits/*.json"))
    assert 7 <= len(committed) < 30
    for number in (7, 9):
        (tmp_path / f"{number:02}.csv").write_bytes((small_files / "0001.csv").read_bytes())
    assert score_paths([tmp_path / "*.csv"], model, tmp_path / "out").rows == 120


def test_quarantine_of_no_refused_row_has_the_columns(model: Model, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"{HEADER},note\n{ROW},a\n")
    score_paths([tmp_path / "x.csv"], model, tmp_path / "out")
    quarantine = pq.read_table(tmp_path / "out/quarantine.parquet")
    assert quarantine.num_rows == 0
    assert quarantine.column_names == [*BIRD, "note", "malformed_line", "source", "row", "reasons"]
