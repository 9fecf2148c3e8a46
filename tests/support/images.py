"""Images made by Pillow, and a small model of them with weights that mean nothing, and are always
the same.
"""

import base64
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from PIL import Image

from creche.contract import Column, Contract
from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.contract.statistics import ImageStatistics
from creche.model.artifact import Model
from creche.model.encoders import ImageEncoder
from creche.model.graph import serialize
from creche.model.metadata import (
    BaselineStatistics,
    DataTerms,
    GoldenRows,
    ModelMetadata,
    Provenance,
    QuarantineLimit,
    Uncertainty,
)
from creche.model.preprocessor import Preprocessor

SIDE = 8  # pixels
STATISTICS = ImageStatistics(rows=0, mean=0.0, std=0.0, brightness=[])
CLASSES = ("cat", "dog", "none")
COLOUR = Column("image", width=SIDE, height=SIDE, channels=3, required=True)


def dots(seed: int, side: int = SIDE) -> np.ndarray:
    """Return random pixels (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def encoded(image: Image.Image | np.ndarray, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        file, format_, **options
    )
    return file.getvalue()


def folder_of(path: Path, count: int, start: int = 0) -> Path:
    """Create a folder of `count` PNG files, 00000.png and on."""
    path.mkdir(parents=True)
    for i in range(start, start + count):
        (path / f"{i:05}.png").write_bytes(encoded(dots(i)))
    return path


def image_model(
    path: Path, batch_max_share: float = 0.5, column: Column = COLOUR, name: str = "image"
) -> Model:
    """Write a small model to `path`: a convolution, a mean, three classes, with golden rows."""
    random = np.random.default_rng(0)
    model = _image_graph(column, name, random)
    metadata = _image_metadata(column, name, batch_max_share)
    unrecorded = Model.from_bytes(serialize(model, metadata))
    golden = [base64_of(random.integers(0, 256, column.shape, np.uint8)) for _ in range(3)]
    metadata = replace(metadata, golden=unrecorded.predict_golden({name: golden}))
    path.write_bytes(serialize(model, metadata))
    return Model(path)


def _image_graph(column: Column, name: str, random: np.random.Generator) -> onnx.ModelProto:
    """A graph by hand, so that tests of scoring need no training and no torch."""
    height, width, channels = column.shape
    kernel = random.normal(0, 0.02, (4, channels, 3, 3)).astype(np.float32)
    constants = {
        "kernel": kernel,
        "gray": 127.5 * kernel.sum((1, 2, 3)),
        "weight": random.normal(0, 2, (4, len(CLASSES))).astype(np.float32),
        "half": np.float32(0.5),
    }
    nodes = [
        h.make_node("Cast", [name], ["float"], to=T.FLOAT),
        h.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        h.make_node("Conv", ["planes", "kernel"], ["feature_maps"]),
        h.make_node("GlobalAveragePool", ["feature_maps"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["mean"]),
        h.make_node("Sub", ["mean", "gray"], ["centered"]),
        h.make_node("MatMul", ["centered", "weight"], ["logits"]),
        h.make_node("Transpose", ["logits"], ["logits_by_class"], perm=[1, 0]),
        h.make_node("Softmax", ["logits_by_class"], ["by_class"], axis=0),
        h.make_node("Transpose", ["by_class"], [PROBABILITIES], perm=[1, 0]),
        h.make_node("ReduceMax", ["by_class"], [OOD_SCORE], axes=[0], keepdims=0),
        h.make_node("Greater", ["by_class", "half"], ["in_set"]),
        h.make_node("Transpose", ["in_set"], [PREDICTION_SET], perm=[1, 0]),
        h.make_node("ArgMax", ["by_class"], ["class_index"], axis=0, keepdims=0),
        h.make_node(
            "LabelEncoder",
            ["class_index"],
            [LABEL],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=CLASSES,
        ),
    ]
    graph = h.make_graph(
        nodes,
        "images",
        [h.make_tensor_value_info(name, T.UINT8, ["N", height, width, channels])],
        [
            h.make_tensor_value_info(LABEL, T.STRING, ["N"]),
            h.make_tensor_value_info(PROBABILITIES, T.FLOAT, ["N", len(CLASSES)]),
            h.make_tensor_value_info(OOD_SCORE, T.FLOAT, ["N"]),
            h.make_tensor_value_info(PREDICTION_SET, T.BOOL, ["N", len(CLASSES)]),
        ],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return h.make_model(
        graph,
        ir_version=10,
        opset_imports=[h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)],
    )


def _image_metadata(column: Column, name: str, batch_max_share: float) -> ModelMetadata:
    channels = column.shape[2]
    encoder = ImageEncoder(name, (0.5,) * channels, (0.5,) * channels, column.shape)
    return ModelMetadata(
        recipe="images",
        label="animal",
        label_column=Contract({"animal": Column("category", values=CLASSES, missing_values=())}),
        contract=Contract({name: column}).subset([name]),
        quarantine=QuarantineLimit(batch_max_share),
        preprocessor=Preprocessor((encoder,), CLASSES),
        uncertainty=Uncertainty(0.9, 0.5, 0, "the highest probability", "probabilities over 0.5"),
        statistics=BaselineStatistics(columns={encoder.column: STATISTICS}, classes={}),
        golden=GoldenRows.empty(),
        data=DataTerms("not stated", "not stated"),
        provenance=Provenance("0" * 32, "", "", "", "", 0, "", ""),
    )


def base64_of(pixels: np.ndarray) -> str:
    return base64.b64encode(pixels.tobytes()).decode()


def cifar(folder: Path, train: int = 400, test: int = 200) -> dict[str, str]:
    """Write six files like CIFAR-10's and return their MD5s.

    They hold noise that is brighter in one half of one channel, by its class.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    sums = {}
    for name, rows in [
        *((f"data_batch_{i}.bin", train // 5) for i in range(1, 6)),
        ("test_batch.bin", test),
    ]:
        labels = np.arange(rows) % 10
        pixels = random.integers(0, 120, (rows, 3, 32, 32))
        for i, label in enumerate(labels):
            half = slice(0, 16) if label < 5 else slice(16, 32)
            pixels[i, label % 3, half, :] += 20 * (label % 5) + 30
        content = (
            np.concatenate([labels[:, None], pixels.reshape(rows, -1)], axis=1)
            .astype(np.uint8)
            .tobytes()
        )
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return sums
