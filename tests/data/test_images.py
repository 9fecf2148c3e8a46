"""Images as they come: read upright and exact, or refused with the reason; never guessed at."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.images import COLOUR, SIDE, base64_of, dots, encoded, folder_of, image_model
from support.projects import BIRD

from creche.contract import Column, Contract, images
from creche.data import quarantine
from creche.data.readers import base
from creche.data.readers.cifar import CIFAR_CLASSES
from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError

GREY = Column("image", width=SIDE, height=SIDE, channels=1, required=True)
FITTED = Column("image", width=SIDE, height=SIDE, channels=3, resize=True)
CONTRACT = Contract({"image": COLOUR})
IMAGE = Image.fromarray(dots(1))


def deep_png() -> bytes:
    """RGB of 16 bits, which Pillow itself cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE * 3)).astype(">u2")
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def deep_tiff() -> bytes:
    """RGB of 16 bits in a TIFF, without compression."""
    pixels = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE, 3)).astype("<u2").tobytes()
    bits = 8 + 2 + 10 * 12 + 4
    entries = [(256, 3, 1, SIDE), (257, 3, 1, SIDE), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, bits + 6),
               (277, 3, 1, 3), (278, 3, 1, SIDE), (279, 4, 1, len(pixels)), (284, 3, 1, 1)]  # fmt: skip
    directory = (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *e) for e in entries)
        + b"\0" * 4
    )
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16) + pixels


def animated(format_: str) -> bytes:
    return encoded(IMAGE, format_, save_all=True, append_images=[Image.fromarray(dots(2))])


def transparent() -> Image.Image:
    image = IMAGE.convert("RGBA")
    image.putpixel((3, 3), (9, 9, 9, 254))
    return image


def bomb() -> bytes:
    return encoded(Image.new("1", (20_000, 20_000)))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "one pixel": (lambda: encoded(Image.new("RGB", (1, 1))), "not 8×8 pixels"),
    "another size": (lambda: encoded(dots(0, SIDE + 1)), "not 8×8 pixels"),
    "16 bits of gray": (lambda: encoded(np.full((SIDE, SIDE), 40_000, np.uint16)), "more than 8 bits a channel"),
    "16 bits of color": (deep_png, "more than 8 bits a channel"),
    "16 bits of gray in TIFF": (lambda: encoded(np.full((SIDE, SIDE), 40_000, np.uint16), "TIFF"), "more than 8 bits a channel"),
    "16 bits of color in TIFF": (deep_tiff, "more than 8 bits a channel"),
    "floats": (lambda: encoded(np.ones((SIDE, SIDE), np.float32), "TIFF"), "more than 8 bits a channel"),
    "printers' colors": (lambda: encoded(IMAGE.convert("CMYK"), "JPEG"), "CMYK colors"),
    "animated GIF": (lambda: animated("GIF"), "several frames"),
    "animated PNG": (lambda: animated("PNG"), "several frames"),
    "animated WebP": (lambda: animated("WEBP"), "several frames"),
    "pages of a TIFF": (lambda: animated("TIFF"), "several frames"),
    "cut JPEG": (lambda: encoded(dots(0), "JPEG", quality=100)[:-40], "cut short or damaged"),
    "cut PNG": (lambda: encoded(dots(0))[:-40], "cut short or damaged"),
    "PNG cut in its header": (lambda: encoded(dots(0))[:20], "cut short or damaged"),
    "text": (lambda: b"notes on the images", "not an image"),
    "nothing": (lambda: b"", "not an image"),
    "transparent pixels": (lambda: encoded(transparent()), "transparent pixels"),
    "transparent palette": (lambda: encoded(IMAGE.quantize(9), "PNG", transparency=0), "transparent pixels"),
    "gray": (lambda: encoded(IMAGE.convert("L")), "gray where color is expected"),
    "black and white": (lambda: encoded(IMAGE.convert("1")), "gray where color is expected"),
    "bomb": (bomb, images.TOO_LARGE),
    "huge file": (lambda: encoded(dots(0)) + b"\0" * images.MAX_FILE_BYTES, "more than 200,000,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_image_that_is_not_what_is_meant_is_refused_with_its_reason(what: str) -> None:
    content, reason = REFUSED[what]
    with pytest.raises(ValueError, match=f"^{reason}$"):
        images.decode(content(), COLOUR)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixels_come_back_as_they_went_in(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    assert (images.decode(encoded(dots(5), format_, **options), COLOUR) == dots(5)).all()


def test_palette_and_opaque_alpha_are_colour() -> None:
    few = IMAGE.quantize(16)
    assert (images.decode(encoded(few), COLOUR) == np.asarray(few.convert("RGB"))).all()
    assert (images.decode(encoded(few, "GIF"), COLOUR) == np.asarray(few.convert("RGB"))).all()
    assert (images.decode(encoded(IMAGE.convert("RGBA")), COLOUR) == dots(1)).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
@pytest.mark.parametrize("is_used", [True, False])
def test_transparent_color_is_read_as_the_same_image_with_alpha(mode: str, is_used: bool) -> None:
    """A PNG may state one color that is transparent, instead of an alpha channel (tRNS)."""
    pixels = dots(1)
    column = GREY if mode in ("L", "1") else COLOUR
    image = Image.fromarray(pixels).convert(mode)
    if mode == "RGB":
        color: Any = tuple(pixels[0, 0].tolist()) if is_used else (1, 2, 3)
    elif mode == "1":
        image = Image.new("1", (SIDE, SIDE), 1)
        if is_used:
            image.putpixel((0, 0), 0)
        color = 0
    else:
        used = sorted(set(np.asarray(image).ravel().tolist()))
        color = used[0] if is_used else min(set(range(256)) - set(used))
    content = encoded(image, "PNG", transparency=color)
    with_alpha = encoded(Image.open(io.BytesIO(content)).convert("RGBA"))
    if is_used:
        for refused in (content, with_alpha):
            with pytest.raises(ValueError, match=r"^transparent pixels$"):
                images.decode(refused, column)
        return
    expected = np.asarray(image.convert("L" if column is GREY else "RGB")).reshape(column.shape)
    assert (images.decode(content, column) == expected).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_first_frame_of_an_mpo_is_read_as_the_jpeg(orientation: int) -> None:
    """Many phones and cameras write .jpg files that are MPO."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 95, "exif": exif}
    alone = encoded(IMAGE, "JPEG", **options)
    rest = [Image.fromarray(dots(2))]
    content = encoded(IMAGE, "MPO", save_all=True, append_images=rest, **options)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert (images.decode(content, COLOUR) == images.decode(alone, COLOUR)).all()
    with pytest.raises(ValueError, match=r"cut short or damaged|not an image"):
        images.decode(content[: len(alone) // 2], COLOUR)


@pytest.mark.parametrize("masks", [(0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)])
def test_bitmap_of_two_bytes_a_pixel_is_read(masks: tuple[int, int, int]) -> None:
    packed = np.random.default_rng(0).integers(0, masks[0] | 0x7FF, (SIDE, SIDE)).astype("<u2")
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 16, 3, packed.nbytes, 0, 0, 0, 0)
    header += struct.pack("<III", *masks)
    rows = packed[::-1].tobytes()  # from the bottom up
    offset = 14 + len(header)
    content = b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + rows
    channels = []
    for mask in masks:
        lowest_bit = mask & -mask
        channels.append((packed & mask) // lowest_bit * 255 // (mask // lowest_bit))
    assert (images.decode(content, COLOUR) == np.stack(channels, axis=-1)).all()


def test_grey_is_grey_and_colour_is_refused_there() -> None:
    gray = IMAGE.convert("L")
    for same in (gray, gray.convert("LA")):
        assert (images.decode(encoded(same), GREY)[..., 0] == np.asarray(gray)).all()
    black_and_white = images.decode(encoded(IMAGE.convert("1")), GREY)
    assert set(black_and_white.ravel()) == {0, 255}
    with pytest.raises(ValueError, match="color where gray is expected"):
        images.decode(encoded(IMAGE), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_turned_camera_gives_an_upright_image(orientation: int, format_: str) -> None:
    """What the tag says has been done to an image, undone by numpy."""
    undone: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, 3), lambda a: np.rot90(a, 2).transpose(1, 0, 2), np.rot90,
    ]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    upright = undone[orientation - 1](wide)
    column = Column("image", width=upright.shape[1], height=upright.shape[0], channels=3)
    assert (images.decode(encoded(wide, format_, exif=exif), column) == upright).all()


def test_resized_image_is_cut_to_its_middle() -> None:
    wide = np.zeros((SIDE * 2, SIDE * 4, 3), np.uint8)
    wide[:, SIDE : SIDE * 3] = 200
    found = images.decode(encoded(wide), FITTED)
    assert found.shape == (SIDE, SIDE, 3)
    assert (found[:, 1:-1] == 200).all()


def test_damaged_bytes_are_refused_or_read_but_break_nothing() -> None:
    """Every reason is one of ours, whatever the decoder stumbles over."""
    ours = {reason for _, reason in REFUSED.values()}
    exif = Image.Exif()
    exif[0x0112] = 6
    dice = random.Random(0)
    for format_ in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        options = {} if format_ in ("GIF", "BMP") else {"exif": exif}
        whole = encoded(IMAGE.quantize(16) if format_ == "GIF" else IMAGE, format_, **options)
        for _ in range(400):
            damaged = bytearray(whole)
            for _ in range(dice.randint(1, 4)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            content = bytes(
                damaged[: dice.randint(1, len(damaged))] if dice.random() < 0.3 else damaged
            )
            try:
                assert images.decode(content, COLOUR).shape == COLOUR.shape
            except ValueError as error:
                assert str(error) in ours or str(error).endswith("colors"), (format_, error)


def test_image_of_one_colour_is_blank() -> None:
    plain = np.full((SIDE, SIDE, 3), (7, 8, 9), np.uint8)
    cells = images.as_column(np.stack([plain, dots(1), plain]), np.array([False, False, True]))
    assert images.single_color_mask(cells, 3).tolist() == [True, False, False]
    assert images.single_color_mask(cells.slice(1), 3).tolist() == [False, False]


def opened(path: Path, contract: Contract = CONTRACT) -> TableReader:
    [source] = find_sources([str(path)])
    return TableReader(source, contract)


def reasons(table: TableReader) -> list[list[str]]:
    batch = table.read_all()
    reasons = quarantine.reasons_by_row(batch.check(table.contract), len(batch.row_numbers))
    return reasons.to_pylist()


def test_folder_of_images_has_a_row_for_each_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 3)
    (folder / "notes.txt").write_text("lovely light")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "wide.JPG").write_bytes(encoded(dots(0, 16), "JPEG"))
    (folder / "weights.bin").write_bytes(b"12")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "blank.png").write_bytes(encoded(Image.new("RGB", (SIDE, SIDE), "red")))
    table = opened(folder)
    batch = table.read_all()
    assert batch.cells.schema.names == ["path"]
    assert list(zip(batch.cells["path"].to_pylist(), reasons(table), strict=True)) == [
        ("00000.png", []),
        ("00001.png", []),
        ("00002.png", []),
        ("blank.png", ["image: one color all over"]),
        ("empty.jpg", ["image: not an image"]),
        ("notes.txt", ["image: not an image"]),
        ("weights.bin", ["image: not an image"]),
        ("wide.JPG", ["image: not 8×8 pixels"]),
    ]
    assert (
        images.pixels(batch.values["image"].slice(0, 3), COLOUR)
        == np.stack([dots(i) for i in range(3)])
    ).all()


def test_animated_image_is_quarantined(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 1)
    (folder / "walk.gif").write_bytes(animated("GIF"))
    assert reasons(opened(folder)) == [[], ["image: several frames"]]


def test_folders_below_are_the_labels_that_training_wants(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/train/cat", 2)
    folder_of(tmp_path / "photos/train/dog", 1)
    (tmp_path / "photos/none.png").write_bytes(encoded(dots(0)))
    contract = Contract(
        {
            "image": COLOUR,
            "animal": Column("category", values=("cat", "dog"), required=True, aliases=("folder",)),
        }
    )
    table = TableReader(TableSource.local(tmp_path / "photos", "photos"), contract)
    assert reasons(table) == [["animal: missing"], [], [], []]
    assert table.read_all().values["animal"].to_pylist() == [None, "cat", "cat", "dog"]
    assert table.read_all().cells["path"].to_pylist()[1] == "train/cat/00000.png"
    assert table.renamed == {"folder": "animal"}


def test_images_are_found_by_folder_by_glob_and_by_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 12)
    (folder / "table.csv").write_text("a\n1\n")
    found = [
        find_sources([f"{folder}/*.png"]),
        find_sources([f"{tmp_path}/*/*.png"]),
        find_sources([str(p) for p in folder.glob("*.png")]),
    ]
    assert [len(sources) for sources in found] == [1, 1, 1]
    assert [len(sources[0].files) for sources in found] == [12, 12, 12]
    assert [f"{s[0].name}/{s[0].files[3]}" for s in found] == [str(folder / "00003.png")] * 3
    assert find_sources([str(folder / "00003.png")])[0].files == ("00003.png",)
    assert TableSource.local(folder / "00003.png").files == ("00003.png",)
    (folder / "table.csv").unlink()
    with pytest.raises(DataError, match=r"00003.png is named twice"):
        find_sources([str(folder), str(folder / "00003.png")])


def test_folder_of_images_and_tables_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 1)
    (folder / "labels.csv").write_text("path,label\n")
    with pytest.raises(
        DataError,
        match=r"photos holds images and tables, as 00000.png and labels.csv: name those meant by a glob",
    ):
        find_sources([str(folder)])


def test_folder_of_tables_is_no_source_for_training(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="is a folder without images"):
        TableSource.local(tmp_path)


def test_stamp_and_digest_of_a_folder_follow_its_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 3)
    said = [(TableSource.local(folder).stamp(), TableSource.local(folder).sha256())]
    (folder / "00001.png").write_bytes(encoded(dots(9)))
    said.append((TableSource.local(folder).stamp(), TableSource.local(folder).sha256()))
    (folder / "00001.png").rename(folder / "00004.png")
    said.append((TableSource.local(folder).stamp(), TableSource.local(folder).sha256()))
    assert len({str(stamp) for stamp, _ in said}) == len({digest for _, digest in said}) == 3
    folder_of(tmp_path / "again", 3)
    assert TableSource.local(tmp_path / "again").sha256() == said[0][1]


def test_image_that_goes_while_it_is_read_is_named(tmp_path: Path) -> None:
    table = opened(folder_of(tmp_path / "photos", 3))
    (tmp_path / "photos/00001.png").unlink()
    with pytest.raises(DataError, match=r"photos/00001.png cannot be read"):
        table.read_all()


def test_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 1)
    try:
        (folder / "caf\udce9.png").write_bytes(encoded(dots(1)))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match="is not UTF-8: rename it"):
        find_sources([str(folder)])


def batch_of(path: Path, labels: list[int], seed: int) -> np.ndarray:
    """A file of CIFAR-10 records; the pixels in it (n, 32, 32, 3)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    path.parent.mkdir(exist_ok=True)
    records = np.concatenate(
        [
            np.array(labels, np.uint8)[:, None],
            pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1),
        ],
        axis=1,
    )
    path.write_bytes(records.tobytes())
    return pixels


CIFAR = Contract(
    {
        "image": Column("image", width=32, height=32, channels=3, required=True),
        "label": Column("category", values=CIFAR_CLASSES),
    }
)


def test_cifar_is_read_as_its_makers_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    third = batch_of(folder / "test_batch.bin", [9, 200], 3)
    first = batch_of(folder / "data_batch_1.bin", [0, 1, 2], 1)
    second = batch_of(folder / "data_batch_2.bin", [3], 2)
    (folder / "batches.meta.txt").write_text("airplane\n")
    (folder / "readme.html").write_text("<html>")
    for table in (opened(folder, CIFAR), TableReader(TableSource.local(folder, "cifar"), CIFAR)):
        batch = table.read_all()
        assert batch.row_numbers.tolist() == [1, 2, 3, 4, 5, 6]
        assert (
            images.pixels(batch.values["image"], CIFAR.columns["image"])
            == np.concatenate([first, second, third])
        ).all()
        assert batch.cells["label"].to_pylist() == [*CIFAR_CLASSES[:4], "truck", "200"]
        assert batch.cells["part"].to_pylist() == ["train"] * 4 + ["test"] * 2
        assert reasons(table)[-1] == [f"label: not one of {', '.join(CIFAR_CLASSES)}"]
    assert (
        opened(folder / "test_batch.bin", CIFAR).read_all().cells["part"].to_pylist()
        == ["test"] * 2
    )


def test_cut_cifar_file_is_named(tmp_path: Path) -> None:
    batch_of(tmp_path / "c/data_batch_1.bin", [1, 2], 0)
    path = tmp_path / "c/data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        DataError,
        match=r"data_batch_1.bin is no file of CIFAR-10: its size is no multiple of 3073 bytes",
    ):
        opened(tmp_path / "c", CIFAR).read_all()


def columns() -> dict[str, pa.Array]:
    pngs = [encoded(dots(0)), None, b"no image", encoded(dots(1))]
    hugging = [p and {"bytes": p, "path": "x.png"} for p in pngs]
    return {
        "binary": pa.array(pngs, pa.binary()),
        "large_binary": pa.array(pngs, pa.large_binary()),
        "struct": pa.array(hugging, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    }


@pytest.mark.parametrize("kind", columns())
def test_parquet_of_encoded_images_is_read(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table({"image": columns()[kind]}), tmp_path / "x.parquet")
    table = opened(tmp_path / "x.parquet")
    assert reasons(table) == [[], ["image: missing"], ["image: not an image"], []]
    found = table.read_all().values["image"].filter(pa.array([True, False, False, True]))
    assert (images.pixels(found, COLOUR) == np.stack([dots(0), dots(1)])).all()


def test_parquet_of_pixels_is_read(tmp_path: Path) -> None:
    cells = images.as_column(np.stack([dots(0), dots(1)]), np.array([False, True]))
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    assert reasons(opened(tmp_path / "x.parquet")) == [[], ["image: missing"]]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (pa.array(["00000.png"]), "image: not an image"),
        (pa.array([7]), "image: not an image"),
        (pa.array([[1, 2]]), "image: not an image"),
        (pa.array([b"1234"], pa.binary(4)), "image: not 8×8 pixels"),
        (pa.nulls(1), "image: missing"),
        (pa.array([{"bytes": None, "path": "x.png"}], columns()["struct"].type), "image: missing"),
    ],
)
def test_column_that_holds_no_images_is_quarantined(
    tmp_path: Path, cells: pa.Array, reason: str
) -> None:
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    assert reasons(opened(tmp_path / "x.parquet")) == [[reason]]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_text_cannot_hold_images(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("image\na.png\n" if name == "x.csv" else '{"image": "a.png"}\n')
    with pytest.raises(ContractError, match="cells of text hold no images"):
        opened(tmp_path / name)


def test_observations_of_another_kind_are_refused_by_their_columns(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"missing columns island.*it has path, image"):
        opened(
            folder_of(tmp_path / "photos", 1),
            Contract({n: Column("number", required=True) for n in BIRD}),
        )


def test_large_images_come_in_small_batches(tmp_path: Path) -> None:
    wide = Column("image", width=2000, height=1000, channels=3, required=True)
    folder_of(tmp_path / "photos", 20)
    sizes = [
        len(rows) for rows, _ in opened(tmp_path / "photos", Contract({"image": wide})).blocks()
    ]
    assert max(sizes) * 2000 * 1000 * 3 <= base.IMAGE_BATCH_BYTES
    big = [random.Random(i).randbytes(3 << 20) for i in range(20)]
    pq.write_table(pa.table({"image": pa.array(big, pa.binary())}), tmp_path / "x.parquet")
    assert max(len(rows) for rows, _ in opened(tmp_path / "x.parquet").blocks()) <= 11


def test_model_of_images_answers_in_chunks_as_one_by_one(tmp_path: Path) -> None:
    model = image_model(tmp_path / "m.onnx")
    assert model.verify() == []
    pixels = np.stack([dots(i) for i in range(600)])
    whole = model.predict_encoded({"image": pixels})
    for predictions in (
        model.predict({"image": pixels}),
        model.predict_encoded({"image": pixels[:1]}),
        model.predict({"image": pixels[:0]}),
    ):
        rows = len(predictions.ood_score)
        assert predictions.probabilities.tobytes() == whole.probabilities[:rows].tobytes()
        assert predictions.sets.tobytes() == whole.sets[:rows].tobytes()
        assert (predictions.labels == whole.labels[:rows]).all()
    assert model.predict_golden({"image": [base64_of(pixels[5])]}).label == [whole.labels[5]]
    assert len(set(whole.labels)) > 1
