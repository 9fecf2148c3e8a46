"""Every file below an argument is read, counted as hidden, named as not read, or refused."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import dots, encoded
from support.processes import s3_server
from support.projects import BIRD

from creche.data.file_formats import FORMATS
from creche.data.folder_tables import Inputs
from creche.data.sources import find_inputs, find_sources
from creche.errors import DataError

CSV = (",".join(BIRD) + "\n" + ",".join(BIRD.values()) + "\n").encode()
TABLE = pa.table({name: [value] for name, value in BIRD.items()})


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink)
    return bytes(sink.getvalue())


def orc() -> bytes:
    sink = pa.BufferOutputStream()
    pa.orc.write_table(TABLE, sink)
    return bytes(sink.getvalue())


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(inputs: Inputs) -> list[str]:
    return [source.relative for source in inputs.sources]


READ = {
    "a.csv": CSV,
    "b.parquet.gzip": parquet(),
    "c.parq": parquet(),
    "part-00000": CSV,
    "d.csv.gz": gzip.compress(CSV),
    "e.dat": CSV,
    "f.orc": orc(),
    "_day=1/g.csv": CSV,
    "d1.parquet/part-0.parquet": parquet(),
}
SKIPPED = {"README.md": b"# Birds", "b.parquet.bak": b"old", "LICENSE": b"free", "sub/load.py": b""}
HIDDEN = {
    "_SUCCESS": b"",
    ".a.csv.crc": b"1",
    "._x": b"2",
    ".DS_Store": b"\0",
    "x.crc": b"3",
    "a.csv.dvc": b"outs:",
    "_temporary/0/a.csv": CSV,
    ".git/HEAD": b"ref",
}


def test_every_file_of_a_folder_is_accounted_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", READ | SKIPPED | HIDDEN)
    other = write(tmp_path / "other", {"h.csv": CSV})
    (folder / "linked").symlink_to(other, target_is_directory=True)
    (folder / "sub/up").symlink_to(folder, target_is_directory=True)
    inputs = find_inputs([str(folder)])
    assert names(inputs) == sorted([*READ, "linked/h.csv"])
    skipped = {file.name: file.kind for file in inputs.skipped.named}
    expected = {str(folder / name): "no file of observations" for name in SKIPPED}
    assert skipped == expected | {str(folder / "sub/up"): "a link to a folder above it"}
    # A hidden folder counts as one.
    assert inputs.skipped.hidden == len(HIDDEN)
    by_glob = find_inputs([str(folder / "*")])
    assert names(by_glob) == names(inputs)


def test_file_that_may_hold_observations_and_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "in", {"a.csv": CSV, "b.avro": b"Obj\x01\x04", "c.zip": b"PK\x03\x04"}
    )
    (folder / "d.csv").symlink_to(folder / "nowhere.csv")
    os.mkfifo(folder / "e.csv")
    with pytest.raises(DataError) as error:
        find_sources([str(folder)])
    for part in (
        "b.avro (an Avro file: convert it",
        "c.zip (a ZIP archive: unpack it",
        "d.csv (a link to a file that does not exist)",
        "e.csv (no regular file)",
    ):
        assert part in str(error.value)
    assert names(find_inputs([f"{folder}/a*"])) == ["a.csv"]


def test_what_a_glob_matches_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {"a.csv": CSV})
    os.mkfifo(folder / "b.csv")
    (folder / "c.csv").symlink_to(folder / "nowhere.csv")
    with pytest.raises(DataError) as error:
        find_sources([f"{folder}/*.csv"])
    message = str(error.value)
    assert "*.csv matches files that cannot be read" in message
    assert "b.csv (no regular file)" in message
    assert "c.csv (a link to a file that does not exist)" in message
    assert message.endswith("name a glob that matches only the files to score")


def test_thousand_unreadable_files_are_not_all_named(tmp_path: Path) -> None:
    folder = write(tmp_path, {f"{number}.avro": b"Obj\x01" for number in range(1000)})
    with pytest.raises(DataError, match="and 995 more") as error:
        find_sources([str(folder)])
    assert len(str(error.value)) < 1000


def test_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, {"a.csv": CSV, "closed/b.csv": CSV})
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="closed cannot be listed: Permission denied"):
        find_sources([str(folder)])


def test_folder_that_two_links_reach_is_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"h.csv": CSV})
    (tmp_path / "in").mkdir()
    for link in ("one", "two"):
        (tmp_path / "in" / link).symlink_to(other, target_is_directory=True)
    with pytest.raises(DataError, match="its rows would be scored twice"):
        find_sources([str(tmp_path / "in")])


def test_glob_scores_the_folders_that_it_matches(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "d1.parquet/part-0.parquet": parquet(),
            "d1.parquet/_SUCCESS": b"",
            "d1.parquet/README.md": b"",
            "d2.parquet": parquet(),
            "notes.log": b"",
        },
    )
    inputs = find_inputs([f"{folder}/*.parquet"])
    assert names(inputs) == ["d1.parquet/part-0.parquet", "d2.parquet"]
    assert [file.name for file in inputs.skipped.named] == [str(folder / "d1.parquet/README.md")]
    assert inputs.skipped.hidden == 1
    assert names(find_inputs([f"{folder}/**"])) == names(inputs)


def test_pattern_that_states_a_suffix_means_the_files_that_have_it(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a.log": CSV, "_b.csv": CSV, "c.csv": CSV})
    assert names(find_inputs([f"{folder}/*.log"])) == ["a.log"]
    assert names(find_inputs([f"{folder}/_*.csv"])) == ["_b.csv"]
    inputs = find_inputs([f"{folder}/*"])
    assert (names(inputs), inputs.skipped.hidden) == (["c.csv"], 1)


def test_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "_in" / ".cache", {"a.csv": CSV})
    assert names(find_inputs([str(folder)])) == ["a.csv"]
    assert names(find_inputs([f"{folder}/*"])) == ["a.csv"]


def test_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.csv"
    try:
        path.write_bytes(CSV)
    except OSError:
        pytest.skip("this file system takes no such name")
    for argument in (str(tmp_path), str(path), f"{tmp_path}/*.csv"):
        with pytest.raises(DataError, match="is not UTF-8: rename it") as error:
            find_sources([argument])
        assert str(error.value).isprintable()


def test_argument_that_is_no_file_is_named_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("link.csv", "is a link to a file that does not exist"),
        ("pipe.csv", "is no regular file"),
        ("gone.csv", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            find_sources([str(tmp_path / name)])


def test_image_beside_documents_makes_each_file_a_row(tmp_path: Path) -> None:
    folder = write(tmp_path, {"one": encoded(dots(1)), "README.md": b"", ".DS_Store": b""})
    inputs = find_inputs([str(folder)])
    [source] = inputs.sources
    assert source.files == ("README.md", "one")
    assert (inputs.skipped.named, inputs.skipped.hidden) == ([], 1)


def test_file_beside_the_batches_of_cifar_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, {"test_batch.bin": b"", "batches.meta.txt": b"", "readme.html": b""})
    inputs = find_inputs([str(folder)])
    assert [source.files for source in inputs.sources] == [("test_batch.bin",)]
    skipped = [file.name for file in inputs.skipped.named]
    assert skipped == [str(folder / "batches.meta.txt"), str(folder / "readme.html")]


FILE_NAMES = st.one_of(
    st.sampled_from([*READ, *SKIPPED, *HIDDEN]),
    st.builds(
        "{}{}".format,
        st.text("ab_.-=", min_size=1, max_size=6).filter(lambda name: name.strip(".")),
        st.sampled_from(["", *FORMATS, ".gz", ".bak", ".crc"]),
    ),
)


@settings(max_examples=60, deadline=None)
@given(files=st.sets(FILE_NAMES, min_size=1, max_size=12))
def test_every_file_is_a_source_or_counted_or_named(
    files: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in files:
        parent = (folder / name).parent
        if parent.is_file() or (folder / name).is_dir():
            return
        parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(parquet())
    try:
        inputs = find_inputs([str(folder)])
    except DataError as error:
        message = str(error)
        assert "no file of observations there" in message or "of one name" in message
        return
    hidden_folders = [name for name in files if name.startswith(("_temporary/", ".git/"))]
    assert len(inputs.sources) + len(inputs.skipped.named) + inputs.skipped.hidden == len(files)
    assert len(hidden_folders) <= inputs.skipped.hidden


def test_remote_folder_is_accounted_for_as_a_local_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "s3/bucket/in", READ | SKIPPED | HIDDEN)
    local = find_inputs([str(folder)])
    with s3_server(tmp_path / "s3", monkeypatch):
        remote = find_inputs(["s3://bucket/in"])
        assert names(remote) == names(local)
        assert [s.file_format for s in remote.sources] == [s.file_format for s in local.sources]
        assert all(source.shows_changes() for source in remote.sources)
        assert len(remote.skipped.named) == len(local.skipped.named)
        assert remote.skipped.hidden == local.skipped.hidden
        assert names(find_inputs(["s3://bucket/in/*"])) == names(local)
        assert names(find_inputs(["s3://bucket/in/_day=1/g.csv"])) == ["g.csv"]


LAKE_FILES = {
    "a Delta Lake table": "_delta_log/00000000000000000000.json",
    "an Apache Hudi table": ".hoodie/hoodie.properties",
    "an Apache Iceberg table": "metadata/v1.metadata.json",
    "the output of a Spark stream": "_spark_metadata/0",
    "a transactional Hive table": "delete_delta_0000002_0000002_0000/bucket_00000",
}


@pytest.mark.parametrize("kind", LAKE_FILES)
@pytest.mark.parametrize("where", ["", "birds/", "year=2020/birds/"])
def test_table_with_a_log_is_refused_by_name(tmp_path: Path, kind: str, where: str) -> None:
    """Its folder holds rows that have been deleted from it."""
    folder = write(
        tmp_path / "in",
        {f"{where}part-0.parquet": parquet(), f"{where}{LAKE_FILES[kind]}": parquet()},
    )
    arguments = [str(folder), f"{tmp_path}/i*", f"{folder}/**"]
    if kind == "a Delta Lake table" and not where:
        # The folder itself is read by its log.
        with pytest.raises(DataError, match=f"is {kind} that cannot be read: "):
            find_sources([arguments.pop(0)])
    for argument in arguments:
        with pytest.raises(DataError, match=f"holds {kind} ") as error:
            find_sources([argument])
        assert "export the current version as Parquet, or name the files by a glob" in str(
            error.value
        )
    # The way out that the message names.
    assert names(find_inputs([f"{folder}/{where}*.parquet"])) == ["part-0.parquet"]


@pytest.mark.parametrize("name", ["metadata/notes.csv", "delta_force/a.csv", "base_case/b.csv"])
def test_folder_of_a_similar_name_is_no_lake_table(tmp_path: Path, name: str) -> None:
    assert names(find_inputs([str(write(tmp_path, {name: CSV}))])) == [name]


def test_remote_lake_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "s3/bucket/in", {"a.parquet": parquet(), "_delta_log/0.json": b"{}"})
    with s3_server(tmp_path / "s3", monkeypatch):
        for argument in ("s3://bucket/in", "s3://bucket/i*", "s3://bucket/in/**"):
            with pytest.raises(DataError, match="holds a Delta Lake table"):
                find_sources([argument])
        assert names(find_inputs(["s3://bucket/in/*.parquet"])) == ["a.parquet"]
