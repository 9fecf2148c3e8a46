"""The artifact: one ONNX file that takes raw columns and stands alone.

In: every feature by its canonical name, `[N, 1]`, categories as strings, numbers as float32; an
image as uint8 `[N, height, width, channels]`. Out: `label` `[N]` (string), `probabilities` `[N, K]`
(float32, in the order of the classes), `ood_score` `[N]` (float32: the share of calibration rows at
least as unlike the training data) and `prediction_set` `[N, K]` (bool: the classes that cannot be
excluded at the stated coverage). A category that training never saw, NaN and infinity answer
`unknown`, NaN and an empty set, never a class. Metadata under `creche.*` keys, as JSON: see
`SECTIONS`.

Reading needs numpy and onnxruntime; what needs onnx is in `graph`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from creche.contract import UNKNOWN, Contract
from creche.errors import ModelError

FORMAT = 1
SECTIONS = (
    "format", "recipe", "label", "contract", "quarantine", "transform", "uncertainty", "statistics", "golden",
    "provenance", "data",
)  # fmt: skip
OUTPUTS = ["probabilities", "ood_score", "prediction_set"]
CPU = "CPUExecutionProvider"
IMAGE_ROWS = 256  # answered at once: a network's layers hold much more of each than its pixels
TOLERANCE = 1e-5  # of a probability, between processors
OOD_SCORE_TOLERANCE = (
    0.1  # a share of few rows: on another processor a distance may fall on the other side of one
)


@dataclass(frozen=True)
class Predictions:
    """What a model says of n rows."""

    probabilities: np.ndarray  # (n, classes) float32; NaN where the row is unknown
    ood_score: np.ndarray  # (n,) float32, 0..1; NaN where the row is unknown
    sets: np.ndarray  # (n, classes) bool
    classes: tuple[str, ...]

    @property
    def codes(self) -> np.ndarray:
        """The likeliest class (n,) as its index, or the number of classes where the row is
        unknown.
        """
        highest, *others = self.probabilities.T
        likeliest: np.ndarray = np.zeros(
            len(highest), np.int8 if len(self.classes) < 127 else np.int32
        )
        for k, probability in enumerate(others, 1):  # the first of equals, as ArgMax has it
            likeliest[probability > highest] = k
            highest = np.maximum(highest, probability)
        likeliest[np.isnan(self.ood_score)] = len(self.classes)
        return likeliest

    @property
    def labels(self) -> np.ndarray:
        """The label (n,), as the graph's own output has it."""
        labels: np.ndarray = np.array([*self.classes, UNKNOWN], dtype=object)[self.codes]
        return labels


class Model:
    """A model file, opened for reading: checked, and ready to answer."""

    def __init__(
        self,
        path: Path,
        digest: str | None = None,
        provider: str = CPU,
        verdict_id: str | None = None,
    ) -> None:
        """Load into onnxruntime, with one thread for each processor of the affinity mask.

        Args:
            verdict_id: of the gate's verdict on it, where a registry told.

        Raises:
            ModelError: no such file, not a model of ours, its SHA-256 is not `digest`, or no such
            provider here.
        """
        self.verdict_id = verdict_id
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror or error}") from None
        self._open(content, path, digest, provider)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """The same from memory."""
        model = cls.__new__(cls)
        model.verdict_id = None
        model._open(content, Path("this model"), None, CPU)
        return model

    def _open(self, content: bytes, path: Path, digest: str | None, provider: str) -> None:
        self.content, self.path = content, path
        self.digest = hashlib.sha256(self.content).hexdigest()
        if digest and self.digest != digest:
            raise ModelError(
                f"{path} is not the file that was registered: SHA-256 {self.digest}, not {digest}"
            )
        if provider not in ort.get_available_providers():
            raise ModelError(
                f"onnxruntime has no {provider} here, only {', '.join(ort.get_available_providers())}"
            )
        try:
            self.session = _session(self.content, processors(), provider)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ModelError(
                f"{path} is no model that onnxruntime can load: {str(error).splitlines()[0]}"
            ) from None
        if self.session.get_providers()[0] != provider:  # onnxruntime falls back without a word
            raise ModelError(
                f"onnxruntime cannot use {provider} here, though it has it: is its device there?"
            )
        props = self.session.get_modelmeta().custom_metadata_map
        absent = [s for s in SECTIONS if f"creche.{s}" not in props]
        if absent:
            raise ModelError(
                f"{path} is an ONNX model, but not one of creche's: it lacks creche.{absent[0]}"
            )
        self.metadata: dict[str, Any] = {s: json.loads(props[f"creche.{s}"]) for s in SECTIONS}
        if self.metadata["format"] > FORMAT:
            raise ModelError(
                f"{path} has format {self.metadata['format']}; this creche reads up to {FORMAT}: update it"
            )
        self.contract = Contract.from_dict(self.metadata["contract"])
        self.label: str = self.metadata["label"]
        self.classes: tuple[str, ...] = tuple(self.metadata["transform"]["classes"])

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        """Category → the values that training saw; a value's place is its code."""
        return {
            f["name"]: f["vocabulary"]
            for f in self.metadata["transform"]["features"]
            if f["kind"] not in ("number", "image")
        }

    def predict(self, columns: Mapping[str, np.ndarray]) -> Predictions:
        """Predict rows with the file's own graph: columns (n,) of numbers and text, pixels (n,
        height, width, channels).
        """
        feed = {}
        for name, column in self.contract.columns.items():
            feed[name] = column.type.model_input(columns[name], column)
        probabilities, ood_score, sets = self._run(self.session, OUTPUTS, feed, 0)
        return Predictions(probabilities, ood_score, sets, self.classes)

    def predict_encoded(self, columns: Mapping[str, np.ndarray]) -> Predictions:
        """The same with columns (n,) of float32 for text: categories as codes of `vocabularies`,
        NaN for an unseen one.

        Runs on one thread, so that callers may run several at once. Bit for bit what `predict` gives.
        """
        feed = {
            f"front/{n}.code" if c.kind in ("category", "text") else n: columns[n]
            if c.kind == "image"
            else columns[n].reshape(-1, 1)
            for n, c in self.contract.columns.items()
        }
        probabilities, ood_score, sets = self._run(self._coded, None, feed, -1)
        return Predictions(probabilities.T, ood_score, sets.T, self.classes)

    def _run(
        self,
        session: ort.InferenceSession,
        outputs: list[str] | None,
        feed: dict[str, Any],
        axis: int,
    ) -> list[np.ndarray]:
        """The outputs, whose rows lie along `axis`; in small batches where there are images."""
        rows = len(next(iter(feed.values())))
        if rows <= IMAGE_ROWS or not self.contract.image_columns:
            return list(session.run(outputs, feed))
        cuts = range(0, rows, IMAGE_ROWS)
        parts = [
            session.run(outputs, {n: cells[i : i + IMAGE_ROWS] for n, cells in feed.items()})
            for i in cuts
        ]
        return [np.concatenate(found, axis) for found in zip(*parts, strict=True)]

    @cached_property
    def _coded(self) -> ort.InferenceSession:
        from creche.model.graph import without_strings

        return _session(without_strings(self.content), 1)

    def golden(self, rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Rows (column → cells, null for a number that is none, an image's pixels in base64) with
        the predictions, as JSON.
        """
        found = self.predict(self._columns(rows))
        return {
            "rows": dict(rows),
            "label": found.labels.tolist(),
            "probabilities": [
                [None if np.isnan(p) else float(p) for p in row] for row in found.probabilities
            ],
            "ood_score": [None if np.isnan(t) else float(t) for t in found.ood_score],
        }

    def _columns(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        columns = {}
        for name, column in self.contract.columns.items():
            columns[name] = column.type.golden_array(rows[name], column)
        return columns

    def verify(self) -> list[str]:
        """Replay the golden rows; what differs from the answers on record, in sentences: none where
        all is well.
        """
        golden = self.metadata["golden"]
        found = self.golden(golden["rows"])
        pairs = enumerate(zip(found["label"], golden["label"], strict=True))
        wrong = [f"golden row {i} is answered {a}, not {b}" for i, (a, b) in pairs if a != b]
        limits = {"probabilities": TOLERANCE, "ood_score": OOD_SCORE_TOLERANCE}
        for name, limit in limits.items():
            now, then = (np.array(g[name], np.float64) for g in (found, golden))  # None becomes NaN
            off = np.where(np.isnan(now) & np.isnan(then), 0, np.abs(now - then)).max()
            if not off <= limit:
                wrong.append(f"{name} of the golden rows differ by {off:.2g}, more than {limit:g}")
        return wrong


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(content: bytes, threads: int, provider: str = CPU) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=[provider])
