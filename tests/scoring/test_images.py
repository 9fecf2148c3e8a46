"""Scoring of images: the same predictions in every form of input, every image counted, and
each one traced.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import CLASSES, COLOUR, SIDE, dots, encoded, folder_of, image_model
from support.observations import score_paths
from support.processes import s3_server

from creche.contract import Column, images
from creche.data.readers import base
from creche.data.sources import find_sources
from creche.errors import CrecheError, DataError, QuarantineError
from creche.model.artifact import Model
from creche.project import MANIFEST
from creche.scoring import batch
from creche.scoring.lineage import find_row, replay
from creche.scoring.manifest import read_manifest
from creche.scoring.single_row import predict
from creche.scoring.writer import OutputFormat

ADDED = [
    "predicted_animal",
    *(f"probability_{c}" for c in CLASSES),
    "prediction_set",
    "ood_score",
    "model_version",
]
BAD = {
    "notes.txt": b"lovely light",
    "empty.png": b"",
    "plain.png": encoded(Image.new("RGB", (SIDE, SIDE))),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return image_model(tmp_path_factory.mktemp("model") / "images.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve good images in two folders, and three bad files."""
    folder_of(tmp_path / "photos/east", 6)
    folder_of(tmp_path / "photos/west", 6, start=6)
    for name, content in BAD.items():
        (tmp_path / "photos" / name).write_bytes(content)
    return tmp_path / "photos"


def score(
    paths: list[Path], model: Model, out: Path, output_format: OutputFormat = "parquet"
) -> pa.Table:
    score_paths(paths, model, out, output_format=output_format)
    return pq.read_table(out / "predictions.parquet") if output_format == "parquet" else None


def probabilities(table: pa.Table) -> list[bytes]:
    return [table[f"probability_{c}"].to_numpy().tobytes() for c in CLASSES]


def test_every_image_ends_in_predictions_or_quarantine(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    table = score([photos], model, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert (manifest.rows, manifest.scored, manifest.quarantined) == (15, 12, 3)
    assert manifest.reasons == {"image: not an image": 2, "image: one color all over": 1}
    assert table.column_names == ["path", "folder", *ADDED]
    assert table["path"].to_pylist() == [
        f"{'east' if i < 6 else 'west'}/{i:05}.png" for i in range(12)
    ]
    assert table["folder"].to_pylist() == ["east"] * 6 + ["west"] * 6
    direct = model.predict({"image": np.stack([dots(i) for i in range(12)])})
    assert probabilities(table) == [
        np.ascontiguousarray(p).tobytes() for p in direct.probabilities.T
    ]
    assert table["predicted_animal"].to_pylist() == direct.labels.tolist()
    quarantine = pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert [(q["path"], q["row"], q["reasons"]) for q in quarantine] == [
        ("empty.png", 7, ["image: not an image"]),
        ("notes.txt", 8, ["image: not an image"]),
        ("plain.png", 9, ["image: one color all over"]),
    ]
    assert {q["source"] for q in quarantine} == {str(photos)}


def parquet(path: Path, cells: pa.Array) -> Path:
    pq.write_table(pa.table({"name": [f"n{i}" for i in range(len(cells))], "image": cells}), path)
    return path


def test_folder_encoded_column_and_pixels_give_the_same_probabilities(
    model: Model, tmp_path: Path
) -> None:
    count = 300
    folder = folder_of(tmp_path / "photos", count)
    contents = [(folder / f"{i:05}.png").read_bytes() for i in range(count)]
    inputs = {
        "folder": folder,
        "encoded": parquet(tmp_path / "encoded.parquet", pa.array(contents, pa.binary())),
        "pixels": parquet(
            tmp_path / "pixels.parquet", images.as_column(np.stack([dots(i) for i in range(count)]))
        ),
    }
    tables = {name: score([path], model, tmp_path / name) for name, path in inputs.items()}
    assert tables["encoded"].column_names == ["row", "name", *ADDED]
    assert tables["pixels"].column_names == ["row", "name", *ADDED]
    of_folder = probabilities(tables["folder"])
    assert probabilities(tables["encoded"]) == of_folder
    assert probabilities(tables["pixels"]) == of_folder


KINDS = {
    "good": (lambda i: encoded(dots(i)), []),
    "jpeg": (lambda i: encoded(dots(i), "JPEG"), []),
    "text": (lambda i: b"notes", ["image: not an image"]),
    "blank": (
        lambda i: encoded(Image.new("RGB", (SIDE, SIDE), (i, 0, 0))),
        ["image: one color all over"],
    ),
    "wide": (lambda i: encoded(dots(i, SIDE + 1)), ["image: not 8×8 pixels"]),
    "cut": (lambda i: encoded(dots(i))[:-30], ["image: cut short or damaged"]),
}


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=30), rows=st.integers(1, 40)
)
def test_every_image_of_any_mix_is_counted(
    kinds: list[str], rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    model = image_model(folder / "m.onnx", batch_max_share=1.0)
    contents = [KINDS[k][0](i) for i, k in enumerate(kinds)]
    accepted = [i for i, k in enumerate(kinds) if not KINDS[k][1]]
    (folder / "photos").mkdir()
    for i, content in enumerate(contents):
        (folder / f"photos/{i:03}.png").write_bytes(content)
    scored = []
    for path in (folder / "photos", parquet(folder / "x.parquet", pa.array(contents, pa.binary()))):
        out = folder / f"out-{path.name}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base, "IMAGE_BATCH_ROWS", rows)
            if not accepted:
                with pytest.raises(QuarantineError):
                    score([path], model, out)
            else:
                scored.append(probabilities(score([path], model, out)))
        quarantine = pq.read_table(out / "quarantine.parquet").to_pylist()
        refused = [(i + 1, KINDS[k][1]) for i, k in enumerate(kinds) if KINDS[k][1]]
        assert [(q["row"], q["reasons"]) for q in quarantine] == refused
        manifest = read_manifest(out / MANIFEST)
        assert (manifest.rows, manifest.scored, manifest.quarantined) == (
            len(kinds),
            len(accepted),
            len(refused),
        )
    if accepted:
        pixels = np.stack([images.decode(contents[i], COLOUR) for i in accepted])
        expected = model.predict({"image": pixels}).probabilities.T
        assert scored == [[np.ascontiguousarray(p).tobytes() for p in expected]] * 2


@pytest.mark.parametrize("kind", ["folder", "encoded"])
def test_blocks_and_threads_change_no_byte(
    model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = photos
    if kind == "encoded":
        contents = [p.read_bytes() for p in sorted(photos.rglob("*")) if p.is_file()]
        source = parquet(tmp_path / "x.parquet", pa.array(contents, pa.binary()))
    score([source], model, tmp_path / "one-block")
    for rows, threads in ((1, 1), (4, 3), (7, 2)):
        monkeypatch.setattr(base, "IMAGE_BATCH_ROWS", rows)
        monkeypatch.setattr("creche.scoring.blocks.processors", lambda threads=threads: threads)
        score([source], model, tmp_path / f"{rows}")
        for name in ("predictions.parquet", "quarantine.parquet"):
            assert (tmp_path / f"{rows}" / name).read_bytes() == (
                tmp_path / "one-block" / name
            ).read_bytes()


def test_quarantined_images_have_their_original_bytes(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    """Bytes as bytes, also beside files whose images are named by their paths, and beside
    pixels.
    """
    contents = [b"\xff\xd8 no image", None, *(encoded(dots(i)) for i in range(6))]
    one = parquet(tmp_path / "one.parquet", pa.array(contents, pa.binary()))
    two = parquet(
        tmp_path / "two.parquet", images.as_column(np.stack([dots(i) * (i > 0) for i in range(6)]))
    )
    rows = [{"bytes": c, "path": None} for c in contents[2:]]
    three = tmp_path / "three.parquet"
    pq.write_table(
        pa.table(
            {"image": pa.array([*rows, {"bytes": b"neither"}]), "mask": pa.array([b"\0\xff"] * 7)}
        ),
        three,
    )
    batch.score(
        find_sources([str(p) for p in (photos, one, two, three)]), model, "1", tmp_path / "out"
    )
    quarantine = pq.read_table(tmp_path / "out/quarantine.parquet")
    assert quarantine.schema.field("image").type == pa.binary()
    assert [(q["path"], q["name"], q["image"], q["mask"]) for q in quarantine.to_pylist()] == [
        ("empty.png", None, None, None),
        ("notes.txt", None, None, None),
        ("plain.png", None, None, None),
        (None, "n0", contents[0], None),
        (None, "n1", None, None),
        (None, "n0", b"\0" * SIDE * SIDE * 3, None),
        (None, None, b"neither", b"\0\xff"),
    ]
    assert "mask" in pq.read_schema(tmp_path / "out/predictions/three.parquet").names


def test_corrected_image_of_the_quarantine_can_be_scored(model: Model, tmp_path: Path) -> None:
    contents = [encoded(dots(0, SIDE + 1)), *(encoded(dots(i)) for i in range(1, 4))]
    score(
        [parquet(tmp_path / "x.parquet", pa.array(contents, pa.binary()))], model, tmp_path / "out"
    )
    table = pq.read_table(tmp_path / "out/quarantine.parquet")
    corrected = table.set_column(
        table.column_names.index("image"), "image", pa.array([encoded(dots(0))], pa.binary())
    )
    pq.write_table(
        corrected.drop_columns(["source", "row", "reasons"]), tmp_path / "corrected.parquet"
    )
    assert score([tmp_path / "corrected.parquet"], model, tmp_path / "again").num_rows == 1


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
def test_predictions_in_text_hold_no_pixels(
    model: Model, tmp_path: Path, output_format: OutputFormat
) -> None:
    cells = images.as_column(np.stack([dots(i) for i in range(3)]))
    score([parquet(tmp_path / "x.parquet", cells)], model, tmp_path / "out", output_format)
    first, second, *_ = (tmp_path / f"out/predictions.{output_format}").read_text().splitlines()
    if output_format == "csv":
        assert first.replace('"', "").split(",") == ["row", "name", *ADDED]
    else:
        assert (json.loads(second)["row"], list(json.loads(second))) == (2, ["row", "name", *ADDED])


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, DataError, "no file of observations there"),
        (
            BAD,
            DataError,
            "none of the 3 rows can be scored, for each breaks the contract: 2 × image: not an image",
        ),
        (
            {"huge.png": encoded(Image.new("1", (9000, 9000)))},
            QuarantineError,
            "1 × image: more than 50,000,000 pixels",
        ),
        ({"data_batch_1.bin": b""}, DataError, "no rows to score"),
        ({"data_batch_1.bin": b"123"}, DataError, "data_batch_1.bin is no file of CIFAR-10"),
        (
            {"a.png": encoded(dots(0)), "data_batch_1.bin": b""},
            DataError,
            "photos holds images and tables, as a.png and data_batch_1.bin",
        ),
    ],
)
def test_batch_without_a_good_image_is_refused_with_reasons(
    model: Model, tmp_path: Path, files: dict[str, bytes], error: type[CrecheError], message: str
) -> None:
    (tmp_path / "photos").mkdir()
    for name, content in files.items():
        (tmp_path / "photos" / name).write_bytes(content)
    with pytest.raises(error, match=message) as error_info:
        score([tmp_path / "photos"], model, tmp_path / "out")
    assert "\n" not in str(error_info.value)
    assert not (tmp_path / "out/predictions.parquet").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_batch_of_which_nothing_can_be_scored_names_no_share(tmp_path: Path, share: float) -> None:
    model = image_model(tmp_path / "m.onnx", batch_max_share=share)
    path = parquet(tmp_path / "x.parquet", pa.array([b"text"] * 3, pa.binary()))
    with pytest.raises(QuarantineError, match=r"^none of the 3 rows can be scored, ") as error:
        score([path], model, tmp_path / "out")
    assert "%" not in str(error.value)


def test_cifar_files_are_scored_with_their_labels_beside(tmp_path: Path) -> None:
    large = Column("image", width=32, height=32, channels=3, required=True)
    model = image_model(tmp_path / "m.onnx", column=large)
    random = np.random.default_rng(0)
    records = random.integers(0, 256, (40, 3073), np.uint8)
    records[:, 0] = np.arange(40) % 10
    records[3, 1:] = 7
    (tmp_path / "c").mkdir()
    (tmp_path / "c/test_batch.bin").write_bytes(records.tobytes())
    table = score([tmp_path / "c"], model, tmp_path / "out")
    assert table.column_names == ["row", "label", "part", *ADDED]
    assert table["row"].to_pylist() == [1, 2, 3, *range(5, 41)]
    assert table["label"].to_pylist()[3:5] == ["deer", "dog"]
    pixels = np.delete(records, 3, 0)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    direct = model.predict({"image": np.ascontiguousarray(pixels)})
    assert probabilities(table) == [
        np.ascontiguousarray(p).tobytes() for p in direct.probabilities.T
    ]
    assert replay(model, find_row(f"{tmp_path}/out:row=6")).same


def test_prediction_is_traced_to_its_image(model: Model, photos: Path, tmp_path: Path) -> None:
    contents = [None, *(encoded(dots(i)) for i in range(5))]
    table = parquet(tmp_path / "x.parquet", pa.array(contents, pa.binary()))
    score([photos], model, tmp_path / "a")
    score([table], model, tmp_path / "b")
    score([photos], model, tmp_path / "c", "csv")
    for reference in ("c:12", "a:12", "a:path=west/00007.png", "b:1", "b:5", "b:name=n2"):
        assert replay(model, find_row(f"{tmp_path}/{reference}")).same, reference
    (photos / "west/00007.png").write_bytes(encoded(dots(0)))
    assert not replay(model, find_row(f"{tmp_path}/a:path=west/00007.png")).same
    (photos / "west/00007.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"is not what was scored: image: not an image"):
        replay(model, find_row(f"{tmp_path}/a:path=west/00007.png"))
    (photos / "west/00007.png").unlink()
    with pytest.raises(DataError, match=r"photos/west/00007.png cannot be read"):
        replay(model, find_row(f"{tmp_path}/a:path=west/00007.png"))
    parquet(table, pa.array(contents[::-1], pa.binary()))
    with pytest.raises(DataError, match=r"x.parquet has changed since it was scored"):
        replay(model, find_row(f"{tmp_path}/b:1"))


def test_scoring_does_not_resume_from_a_changed_folder(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    """The commit record of an interrupted scoring is valid for the files as they were."""

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.score(find_sources([str(photos)]), model, "1", tmp_path / "out", on_file=interrupt)
    (photos / "west/00012.png").write_bytes(encoded(dots(12)))
    assert score([photos], model, tmp_path / "out").num_rows == 13


def test_single_image_has_the_prediction_of_a_batch(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    table = score([photos / "east/00002.png"], model, tmp_path / "out")
    prediction = predict(model, {"Image": str(photos / "east/00002.png")})
    assert prediction.label == table["predicted_animal"][0].as_py()
    assert prediction.probabilities == {c: table[f"probability_{c}"][0].as_py() for c in CLASSES}
    assert table["path"].to_pylist() == ["00002.png"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("photos/notes.txt", "this observation is refused: image: not an image"),
        ("photos/plain.png", "this observation is refused: image: one color all over"),
        ("photos/gone.png", "photos/gone.png: No such file"),
        ("photos", "photos: Is a directory"),
        ("", "this observation is refused: image: missing"),
    ],
)
def test_single_image_that_breaks_the_contract_is_refused(
    model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch, cell: str, message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    with pytest.raises(DataError, match=message):
        predict(model, {"image": cell})


def test_commands_score_trace_and_predict_images(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    def run_creche(*arguments: str) -> str:
        environment = {**os.environ, "CRECHE_HOME": str(tmp_path / "var")}
        done = subprocess.run(
            [sys.executable, "-m", "creche.cli", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    assert run_creche("score", "photos", "--model", str(model.path), "--out", "out").startswith(
        "SCORED  12 of 15 rows"
    )
    assert "bit for bit" in run_creche("trace", "out:3", "--model", str(model.path))
    assert (
        run_creche("predict", str(model.path), "image=photos/east/00002.png").split()[0] in CLASSES
    )
    assert run_creche("verify", str(model.path)).startswith("OK")


def test_s3_is_read_as_a_folder_is(
    model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = score([photos], model, tmp_path / "a")
    shutil.copytree(photos, tmp_path / "s3/bucket/photos")
    with s3_server(tmp_path / "s3", monkeypatch):
        for argument in ("s3://bucket/photos", "s3://bucket/photos/**"):
            batch.score(find_sources([argument]), model, "1", tmp_path / "b")
            of_s3 = pq.read_table(tmp_path / "b/predictions.parquet")
            assert of_s3.equals(local)
        assert replay(model, find_row(f"{tmp_path}/b:8")).same
        batch.score(find_sources(["s3://bucket/photos/west/00007.png"]), model, "1", tmp_path / "c")
    assert probabilities(pq.read_table(tmp_path / "c/predictions.parquet")) == probabilities(
        local.slice(7, 1)
    )
