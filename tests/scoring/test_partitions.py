"""Folders of partitions: names, Hive keys, globs and S3."""

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.observations import observations, published_bytes, score_paths
from support.processes import s3_server
from support.projects import BIRD

from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.data.table_source import HIVE_NULL
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MANIFEST
from creche.scoring import batch
from creche.scoring.manifest import read_manifest


def test_predictions_have_the_folders_of_the_input_and_their_keys(uninterrupted: Path) -> None:
    files = sorted(uninterrupted.glob("predictions/**/*.parquet"))
    assert len(files) == 8
    assert files[0].relative_to(uninterrupted) == Path("predictions/year=2020/site=0/part.parquet")
    # Read as a single file: a dataset would add the keys of the path by itself.
    table = pq.ParquetFile(files[5]).read()
    assert set(table["year"].to_pylist()) == {"2021"}
    assert set(table["site"].to_pylist()) == {"1"}


def test_rows_of_all_partitions_are_counted(uninterrupted: Path) -> None:
    manifest = read_manifest(uninterrupted / MANIFEST)
    assert manifest.rows == 240_000
    assert manifest.scored + manifest.quarantined == manifest.rows
    quarantined_rows = pq.read_table(uninterrupted / "quarantine.parquet").num_rows
    assert manifest.quarantined == quarantined_rows > 2000


def test_metadata_of_a_file_name_its_model(uninterrupted: Path, model: Model) -> None:
    path = next(uninterrupted.glob("predictions/**/*.parquet"))
    metadata = pq.read_schema(path).metadata
    assert metadata[b"creche.model_digest"].decode() == model.digest


def test_s3_is_read_as_a_folder_is(
    model: Model,
    partitions: Path,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(partitions, tmp_path / "s3/bucket/birds")
    with s3_server(tmp_path / "s3", monkeypatch):
        sources = find_sources(["s3://bucket/birds"])
        local_sources = find_sources([str(partitions)])
        assert [s.relative for s in sources] == [s.relative for s in local_sources]
        batch.score(sources, model, "1", tmp_path / "out")
    published = published_bytes(tmp_path / "out")
    expected = published_bytes(uninterrupted)
    # Each quarantined row names its source, which is another, and so does the report.
    del published["quarantine.parquet"], expected["quarantine.parquet"], expected["report.html"]
    assert published == expected


def test_glob_keeps_the_folders_below_its_fixed_part(partitions: Path) -> None:
    sources = find_sources([f"{partitions}/year=2021/*/part.parquet"])
    assert [s.relative for s in sources] == [f"site={i}/part.parquet" for i in range(4)]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(
            st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
        ),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    key=st.sampled_from(["city", "where born", "a/b", "100%"]),
)
def test_keys_are_what_arrow_has_written(
    values: list[str | None], key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Arrow writes and reads a partition for each value; the empty text cannot be one."""
    values = [value for value in values if value not in ("", HIVE_NULL)]
    folder = tmp_path_factory.mktemp("hive")
    table = pa.table({key: pa.array(values, pa.string()), "n": list(range(len(values)))})
    partitioning = ds.partitioning(pa.schema([(key, pa.string())]), flavor="hive")
    try:
        ds.write_dataset(table, folder, format="parquet", partitioning=partitioning)
    except OSError:
        # The file system has no such name: too long when it is encoded.
        return
    if not values:
        return
    read: dict[int, list[str | None]] = {}
    for source in find_sources([str(folder)]):
        [row] = pq.ParquetFile(source.path).read()["n"].to_pylist()
        read[row] = list(source.keys.values())
    assert read == {row: [value] for row, value in enumerate(values)}


def test_key_is_decoded_in_values_and_predictions(model: Model, tmp_path: Path) -> None:
    header = ",".join(list(BIRD)[1:])
    cells = ",".join(list(BIRD.values())[1:])
    for island in ("Torgersen", "%44ream", HIVE_NULL):
        folder = tmp_path / "in" / f"city=New%20York%2FUS/{quote('born in')}=A%3DB/island={island}"
        folder.mkdir(parents=True)
        (folder / "x.csv").write_text(f"{header}\n{cells}\n")
    manifest = score_paths([tmp_path / "in"], model, tmp_path / "out")
    assert (manifest.scored, manifest.reasons) == (2, {"island: missing": 1})
    files = sorted((tmp_path / "out").glob("predictions/**/*.parquet"))
    tables = [pq.ParquetFile(file).read() for file in files]
    assert {table["city"].to_pylist()[0] for table in tables if table.num_rows} == {"New York/US"}
    assert {table["born in"].to_pylist()[0] for table in tables if table.num_rows} == {"A=B"}
    # The folders are those of the input.
    assert files[0].relative_to(tmp_path / "out/predictions").parts[0] == "city=New%20York%2FUS"
    [refused] = pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert (refused["island"], refused["city"]) == (None, "New York/US")


def test_file_that_two_arguments_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    pq.write_table(observations(5, 0), tmp_path / "in/sub/b.parquet")
    (tmp_path / "in/sub/b.parquet.bak").write_bytes(b"old")
    with pytest.raises(DataError, match="is named twice"):
        find_sources([str(tmp_path / "in"), str(tmp_path / "in/sub/b.parquet")])
    assert [s.relative for s in find_sources([str(tmp_path / "in")])] == ["sub/b.parquet"]


def test_argument_that_names_no_file_is_refused(tmp_path: Path) -> None:
    for argument in (str(tmp_path), f"{tmp_path}/*.csv"):
        with pytest.raises(DataError, match="no file of observations there"):
            find_sources([argument])


def test_column_of_the_file_comes_before_a_key_of_its_path(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "island=Biscoe"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(",".join(BIRD) + "\n" + ",".join(BIRD.values()) + "\n")
    (folder / "b.jsonl").write_text(json.dumps(BIRD) + "\n")
    pq.write_table(pa.table({name: [cell] for name, cell in BIRD.items()}), folder / "c.parquet")
    sources = find_sources([str(tmp_path / "in")])
    assert len(sources) == 3
    for source in sources:
        rows = TableReader(source, model.contract).read_all()
        assert rows.values["island"].to_pylist() == ["Dream"]


def test_partition_key_replaces_a_missing_column(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "island=Dream"
    folder.mkdir(parents=True)
    header = ",".join(list(BIRD)[1:])
    cells = ",".join(list(BIRD.values())[1:])
    (folder / "x.csv").write_text(f"{header}\n{cells}\n")
    source = find_sources([str(tmp_path / "in")])[0]
    rows = TableReader(source, model.contract).read_all()
    assert rows.values["island"].to_pylist() == ["Dream"]
    assert score_paths([tmp_path / "in"], model, tmp_path / "out").labels == {"Chinstrap": 1}
