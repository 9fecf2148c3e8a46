"""The format of a file is recognized by its content, whatever the file is called."""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather
from support.images import dots, encoded
from support.projects import BIRD, ROOT

from creche.data.file_formats import (
    FormatError,
    compression_by_signature,
    recognize_content,
)
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.errors import DataError
from creche.recipe import load

CONTRACT = load("penguins", ROOT).contract().subset(BIRD)
ROWS = pa.table(
    {"island": ["Dream", "Biscoe"], **{name: [float(v)] * 2 for name, v in list(BIRD.items())[1:]}}
)
CSV = (",".join(BIRD) + "\n" + f"{','.join(BIRD.values())}\n" * 2).encode()
CSV = CSV.replace(b"Dream", b"Biscoe").replace(b"Biscoe", b"Dream", 1)


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def lz4(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def written(write: str) -> bytes:
    sink = pa.BufferOutputStream()
    if write == "parquet":
        pq.write_table(ROWS, sink)
    elif write == "orc":
        pa.orc.write_table(ROWS, sink)
    elif write == "feather":
        feather.write_feather(ROWS, sink)
    else:
        with pa.ipc.new_stream(sink, ROWS.schema) as stream:
            stream.write_table(ROWS)
    return bytes(sink.getvalue())


JSON_LINES = "".join(
    json.dumps({**BIRD, "island": island}) + "\n" for island in ("Dream", "Biscoe")
).encode()

READABLE = {
    "csv": CSV,
    "csv with a byte order mark": b"\xef\xbb\xbf" + CSV,
    "gzip": gzip.compress(CSV),
    "gzip in two members": gzip.compress(CSV[:40]) + gzip.compress(CSV[40:]),
    "bz2": bz2.compress(CSV),
    "bz2 in two streams": bz2.compress(CSV[:40]) + bz2.compress(CSV[40:]),
    "zstd": zstd(CSV),
    "zstd in two frames": zstd(CSV[:40]) + zstd(CSV[40:]),
    "lz4": lz4(CSV),
    "xz": lzma.compress(CSV),
    "xz in two streams": lzma.compress(CSV[:40]) + lzma.compress(CSV[40:]),
    "UTF-16": CSV.decode().encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + CSV.decode().encode("utf-16-be"),
    "UTF-32": CSV.decode().encode("utf-32"),
    "UTF-16 in gzip": gzip.compress(CSV.decode().encode("utf-16")),
    "JSON lines": JSON_LINES,
    "JSON lines in xz": lzma.compress(JSON_LINES),
    "Parquet": written("parquet"),
    "ORC": written("orc"),
    "Arrow file": written("feather"),
    "Arrow stream": written("stream"),
}


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("name", ["part-00000", "a.csv", "b.csv.xz", "c.dat", "d.unusual", "e.gz"])
def test_content_is_read_whatever_its_name_is(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(READABLE[kind])
    check_is_read(tmp_path / name)


@pytest.mark.parametrize("kind", ["Parquet", "ORC", "Arrow file", "Arrow stream"])
@pytest.mark.parametrize("name", ["a.parquet.gzip", "b.parq", "c.jsonl", "d.orc", "e.feather"])
def test_signature_counts_more_than_the_suffix(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(READABLE[kind])
    check_is_read(tmp_path / name)


def check_is_read(path: Path) -> None:
    [source] = find_sources([str(path)])
    values = TableReader(source, CONTRACT).read_all().values
    assert {column: cells.to_pylist() for column, cells in values.items()} == ROWS.to_pydict()


def word_document() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
    return file.getvalue()


def zip_of_csv() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", CSV)
    return file.getvalue()


def tar_of_csv() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(CSV)
        archive.addfile(entry, io.BytesIO(CSV))
    return file.getvalue()


def numpy_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def database(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "scratch.db")
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    return (tmp_path / "scratch.db").read_bytes()


UNREADABLE = {
    "a document of an Office program": word_document(),
    "a ZIP archive": zip_of_csv(),
    "a tar archive": tar_of_csv(),
    "an Avro file": b"Obj\x01\x04\x14avro.codec",
    "a NumPy array": numpy_array(),
    "an encrypted Parquet file": b"PARE" + b"\1" * 100 + b"PARE",
    "a DuckDB database": b"\1" * 8 + b"DUCK" + b"\0" * 100,
    "a PDF document": b"%PDF-1.4\n1 0 obj\n",
    "an HTML or XML page": b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "UTF-16 text without a byte order mark": CSV.decode().encode("utf-16-le"),
    "binary data of no known format": bytes(range(256)),
    "parquet compressed with gzip as a whole": gzip.compress(written("parquet")),
    "compressed twice": gzip.compress(gzip.compress(CSV)),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", ["data", "data.csv"])
def test_kind_that_cannot_be_read_is_named(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(UNREADABLE[kind])
    with pytest.raises(DataError) as of_file:
        find_sources([str(tmp_path / name)])
    with pytest.raises(DataError) as of_folder:
        find_sources([str(tmp_path)])
    for error in (of_file, of_folder):
        assert kind in str(error.value)
        assert str(tmp_path / name) in str(error.value)
        # The name, and not the bytes.
        assert str(error.value).isprintable()


def test_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "birds.csv").write_bytes(database(tmp_path))
    with pytest.raises(DataError, match=r"birds\.csv is an SQLite database, which is not read"):
        find_sources([str(tmp_path / "birds.csv")])


@pytest.mark.parametrize(
    "header",
    [
        "PAR1,PAR2\n",
        "PARENT_ID,a\n",
        "ORCID,name\n",
        "BMI,age\n",
        "BZh9,x\n",
        "PK,x\n",
        "a\0,b\n",
        "species,DUCK_count\n",
        "FEA1,FEA2\n",
        "GIF89a,GIF87a\n",
        "RIFF,id,WEBP\n",
        "MATLAB 5.0,a\n",
        "$FL2,a\n",
        "<stata_dta>,a\n",
        "RDX2\n",
        "%PDF-share,a\n",
        "x" * 257 + "ustar,a\n",
    ],
)
def test_header_that_begins_as_a_signature_is_text(header: str) -> None:
    content = f"{header}1,2\n".encode()
    assert recognize_content(content, "csv").name == "csv"
    assert compression_by_signature(content) is None


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_image_without_a_suffix_is_an_image(tmp_path: Path, image_format: str) -> None:
    for number in range(3):
        (tmp_path / f"photo{number}").write_bytes(encoded(dots(number), image_format))
    arguments = [str(path) for path in sorted(tmp_path.iterdir())]
    for sources in (find_sources([str(tmp_path)]), find_sources(arguments)):
        [source] = sources
        assert (source.format, source.files) == ("images", ("photo0", "photo1", "photo2"))


@given(st.binary(max_size=600), st.sampled_from([None, "csv", "json", "parquet"]))
def test_any_bytes_have_a_format_or_a_name(content: bytes, suffix_format: str | None) -> None:
    try:
        name = recognize_content(content, suffix_format).name
    except FormatError as error:
        assert str(error).isprintable()
    else:
        assert name in {"csv", "json", "parquet", "arrow", "orc", "image", "workbook"}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200))
def test_any_text_is_text(text: str) -> None:
    if text.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        return
    header = "a," + text
    assert recognize_content(header.encode()).name == "csv"
    assert recognize_content(header.encode("utf-16")).encoding == "utf-16"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_cut_file_of_wide_characters_is_not_called_latin(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(CSV.decode().encode(encoding)[:-1])
    with pytest.raises(DataError, match=f"not {encoding.upper()} text to its end: it is cut"):
        check_is_read(tmp_path / "a.csv")


def test_cut_compressed_file_is_refused(tmp_path: Path) -> None:
    many = CSV + CSV.split(b"\n", 1)[1] * 10_000
    for name, content in (
        ("a.xz", lzma.compress(many)),
        ("a.bz2", bz2.compress(many)),
        ("a.zst", zstd(many)),
        ("a.lz4", lz4(many)),
        ("a.gz", gzip.compress(many)),
    ):
        (tmp_path / name).write_bytes(content[:-20])
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            check_is_read(tmp_path / name)
