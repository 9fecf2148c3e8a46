"""Damaged and unusual files: one sentence that names the file, and nothing published."""

import gzip
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import BIRD

from creche.data.sources import find_sources
from creche.errors import CrecheError, DataError
from creche.model.artifact import Model
from creche.project import MANIFEST
from creche.scoring.batch import score
from creche.scoring.manifest import read_manifest

HEADER, ROW = ",".join(BIRD), ",".join(BIRD.values())
GOOD_CSV = f"{HEADER}\n" + f"{ROW}\n" * 50


def parquet_bytes(path: Path) -> bytes:
    pq.write_table(pa.table({n: [v] * 5000 for n, v in BIRD.items()}), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv.gz", gzip.compress((GOOD_CSV * 400).encode())[:-30], "x.csv.gz"),
        ("x.csv.gz", b"no gzip at all", "x.csv.gz"),
        ("x.csv", GOOD_CSV.encode() + f"{ROW.replace('Dream', 'Dréam')}\n".encode("latin-1"), "x.csv: not UTF-8 text"),
        ("x.csv", f"{HEADER},note\n{ROW},".encode() + b"y" * (8 << 20) + b"\n", "x.csv: a row is longer than 2 MiB"),
        ("x.csv", b"z" * (8 << 20), "x.csv"),
        ("x.csv", f'{HEADER},note\n{ROW},"never closed\n'.encode() + f"{ROW},\n".encode() * 5, "a quote is opened in row 1"),
        ("x.csv", GOOD_CSV.encode() + f'Dream,"44.1,{ROW[11:]}\n'.encode() + f"{ROW}\n".encode() * 50, "a quote is opened in row 51"),
        ("x.jsonl", b"\xff\xfe{}", "x.jsonl"),
        ("x.arrow", b"ARROW1 but no more", "x.arrow is not a whole Arrow file"),
        ("x.parquet", b"PAR1PAR1", "x.parquet is not a whole Parquet file"),
    ],
)  # fmt: skip
def test_broken_file_is_named_and_nothing_is_published(
    model: Model, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CrecheError) as error:
        score(find_sources([str(tmp_path / name)]), model, "1", tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_parquet_damaged_in_its_middle_is_refused(model: Model, tmp_path: Path) -> None:
    content = parquet_bytes(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(content[:200] + b"\0" * 200 + content[400:])
    with pytest.raises(CrecheError, match=r"x\.parquet"):
        score(find_sources([str(tmp_path / "x.parquet")]), model, "1", tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_one_flipped_bit_under_a_page_checksum_is_refused(
    model: Model, tmp_path: Path, codec: str, use_dictionary: bool
) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({**{n: [v] * 3000 for n, v in BIRD.items()}, "ring": range(3000)})
    pq.write_table(
        table, path, compression=codec, use_dictionary=use_dictionary, write_page_checksum=True
    )
    [whole] = find_sources([str(path)])
    assert score([whole], model, "1", tmp_path / "whole").scored == 3000
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    # In the middle of the data, which the column that does not repeat fills.
    damaged = bytearray(content)
    damaged[footer // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CrecheError, match=r"x\.parquet"):
        score(find_sources([str(path)]), model, "1", tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_damage_that_a_checksum_shows_is_called_damage(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({**{n: [v] * 3000 for n, v in BIRD.items()}, "ring": range(3000)})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = path.read_bytes()
    ring = content.index((2998).to_bytes(8, "little") + (2999).to_bytes(8, "little"))
    path.write_bytes(content[:ring] + b"\1" + content[ring + 1 :])
    with pytest.raises(DataError, match=r"x\.parquet is damaged, since its bytes do not have"):
        score(find_sources([str(path)]), model, "1", tmp_path / "out")


def test_ten_thousand_columns_pass_through(model: Model, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(10_000)]
    (tmp_path / "x.csv").write_text(f"{HEADER},{','.join(names)}\n{ROW},{','.join(names)}\n")
    assert score(find_sources([str(tmp_path / "x.csv")]), model, "1", tmp_path / "out").scored == 1
    assert pq.read_schema(tmp_path / "out/predictions.parquet").names[-1] == "model_version"


def test_time_grows_with_the_columns_and_not_with_their_square(
    model: Model, tmp_path: Path
) -> None:
    def seconds(count: int, suffix: str) -> float:
        names = [f"c{i}" for i in range(count)]
        rows = [f"{ROW},{','.join(names)}"] * 3
        rows.append(rows[0].replace("Dream", "Signy"))
        path = tmp_path / f"{count}.{suffix}"
        if suffix == "csv":
            path.write_text(f"{HEADER},{','.join(names)}\n" + "\n".join(rows) + "\n")
        else:
            cells = [*BIRD.items(), *((name, name) for name in names)]
            pq.write_table(pa.table({name: [cell] * 4 for name, cell in cells}), path)
        started = time.process_time()
        score(find_sources([str(path)]), model, "1", tmp_path / f"out-{count}-{suffix}")
        return time.process_time() - started

    for suffix in ("csv", "parquet"):
        seconds(10, suffix)  # what is done once
        # 6 times the columns, whose square is 36 times as large.
        assert seconds(18_000, suffix) < 15 * seconds(3000, suffix)


def test_column_may_change_its_type_between_files(model: Model, tmp_path: Path) -> None:
    for name, ring in (("a", [7, 8]), ("b", ["x", "y"])):
        columns = {n: [v] * 2 for n, v in BIRD.items()} | {"island": ["Dream", "Signy"]}
        pq.write_table(pa.table(columns | {"ring": ring}), tmp_path / f"{name}.parquet")
    manifest = score(find_sources([f"{tmp_path}/*.parquet"]), model, "1", tmp_path / "out")
    assert (manifest.scored, manifest.quarantined) == (2, 2)
    assert pq.read_table(tmp_path / "out/quarantine.parquet")["ring"].to_pylist() == ["8", "y"]


def test_empty_partition_has_predictions_of_no_rows(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD_CSV)
    (tmp_path / "b.csv").write_text(f"{HEADER}\n")
    manifest = score(find_sources([f"{tmp_path}/*.csv"]), model, "1", tmp_path / "out")
    assert [entry.rows for entry in manifest.inputs] == [50, 0]
    assert pq.read_table(tmp_path / "out/predictions/b.parquet").num_rows == 0


def test_output_folder_that_cannot_be_written_is_named(model: Model, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(GOOD_CSV)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CrecheError, match=r"file/out cannot be written"):
        score(find_sources([str(tmp_path / "x.csv")]), model, "1", tmp_path / "file" / "out")


def test_observations_of_another_recipe_are_refused_by_their_columns(
    model: Model, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("fixed acidity;alcohol\n7.4;9.4\n")
    with pytest.raises(
        CrecheError, match=r"missing columns island, .*it has fixed acidity, alcohol"
    ):
        score(find_sources([str(tmp_path / "x.csv")]), model, "1", tmp_path / "out")


def test_decimal_commas_are_read_where_semicolons_separate_the_cells(
    model: Model, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(f"{HEADER}\n{ROW}\n".replace(",", ";").replace(".", ","))
    score(find_sources([str(tmp_path / "x.csv")]), model, "1", tmp_path / "out")
    assert pq.read_table(tmp_path / "out/predictions.parquet")["bill_length_mm"].to_pylist() == [
        50.4
    ]


def test_bad_file_among_others_publishes_nothing_and_scoring_resumes_from_it(
    model: Model, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(GOOD_CSV)
    (tmp_path / "b.csv").write_bytes(GOOD_CSV.encode() + b"\xff" + ROW.encode()[1:] + b"\n")
    with pytest.raises(CrecheError, match=r"b\.csv: not UTF-8"):
        score(find_sources([f"{tmp_path}/*.csv"]), model, "1", tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()
    (tmp_path / "b.csv").write_text(GOOD_CSV)
    assert score(find_sources([f"{tmp_path}/*.csv"]), model, "1", tmp_path / "out").scored == 100
    assert read_manifest(tmp_path / "out" / MANIFEST).state == "scored"
