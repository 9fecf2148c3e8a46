"""Pictures made by Pillow, and a small model of them made by hand: the numbers in it mean nothing,
and are always the same.
"""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from PIL import Image

from creche.contract import Column, Contract
from creche.model.artifact import SECTIONS, Model

SIDE = 8  # pixels
CLASSES = ("cat", "dog", "none")
COLOUR = Column("image", width=SIDE, height=SIDE, channels=3, required=True)


def dots(seed: int, side: int = SIDE) -> np.ndarray:
    """Random pixels (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def encoded(picture: Image.Image | np.ndarray, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(
        file, format_, **options
    )
    return file.getvalue()


def folder_of(path: Path, count: int, start: int = 0) -> Path:
    """A folder of so many PNG files, 00000.png and on."""
    path.mkdir(parents=True)
    for i in range(start, start + count):
        (path / f"{i:05}.png").write_bytes(encoded(dots(i)))
    return path


def image_model(
    path: Path, batch_max_share: float = 0.5, column: Column = COLOUR, name: str = "image"
) -> Model:
    """A convolution, a mean, three classes; written to `path`, with golden rows."""
    height, width, channels = column.shape
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.02, (4, channels, 3, 3)).astype(np.float32)
    constants = {
        "kernel": kernel,
        "middle": 127.5 * kernel.sum((1, 2, 3)),
        "weight": random.normal(0, 2, (4, len(CLASSES))).astype(np.float32),
        "half": np.float32(0.5),
    }
    nodes = [
        h.make_node("Cast", [name], ["float"], to=T.FLOAT),
        h.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        h.make_node("Conv", ["planes", "kernel"], ["seen"]),
        h.make_node("GlobalAveragePool", ["seen"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["mean"]),
        h.make_node("Sub", ["mean", "middle"], ["flat"]),
        h.make_node("MatMul", ["flat", "weight"], ["logits"]),
        h.make_node("Transpose", ["logits"], ["turned"], perm=[1, 0]),
        h.make_node("Softmax", ["turned"], ["shares"], axis=0),
        h.make_node("Transpose", ["shares"], ["probabilities"], perm=[1, 0]),
        h.make_node("ReduceMax", ["shares"], ["ood_score"], axes=[0], keepdims=0),
        h.make_node("Greater", ["shares", "half"], ["inside"]),
        h.make_node("Transpose", ["inside"], ["prediction_set"], perm=[1, 0]),
        h.make_node("ArgMax", ["shares"], ["code"], axis=0, keepdims=0),
        h.make_node(
            "LabelEncoder",
            ["code"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=CLASSES,
        ),
    ]
    outputs = [
        h.make_tensor_value_info("label", T.STRING, ["N"]),
        h.make_tensor_value_info("probabilities", T.FLOAT, ["N", len(CLASSES)]),
        h.make_tensor_value_info("ood_score", T.FLOAT, ["N"]),
        h.make_tensor_value_info("prediction_set", T.BOOL, ["N", len(CLASSES)]),
    ]
    graph = h.make_graph(
        nodes, "pictures", [h.make_tensor_value_info(name, T.UINT8, ["N", height, width, channels])], outputs,
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    model = h.make_model(
        graph,
        ir_version=10,
        opset_imports=[h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)],
    )
    told: dict[str, Any] = {key: {} for key in SECTIONS} | {
        "format": 1,
        "recipe": "pictures",
        "label": "animal",
        "contract": Contract({name: column}).subset([name]).to_dict(),
        "quarantine": {"max_share": 0.1, "batch_max_share": batch_max_share},
        "transform": {
            "classes": CLASSES,
            "features": [{"name": name, "kind": "image", "vocabulary": []}],
        },
        "provenance": {"data_version": "0" * 32},
    }
    golden = np.stack([random.integers(0, 256, column.shape, np.uint8) for _ in range(3)])
    for _ in range(2):  # the answers to the golden rows are its own
        h.set_model_props(model, {f"creche.{k}": json.dumps(v) for k, v in told.items()})
        onnx.checker.check_model(model)
        opened = Model.from_bytes(model.SerializeToString())
        told["golden"] = opened.golden({name: [base64_of(g) for g in golden]})
    path.write_bytes(opened.content)
    return Model(path)


def base64_of(pixels: np.ndarray) -> str:
    return base64.b64encode(pixels.tobytes()).decode()


def cifar(folder: Path, train: int = 400, test: int = 200) -> dict[str, str]:
    """Six files as CIFAR-10's, of noise that is brighter in one of ten corners of color and place;
    their MD5s.
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
