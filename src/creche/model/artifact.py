"""The model file: one ONNX file that takes raw columns and stands alone.

Its inputs are the features by their canonical names: numbers float32 `[N, 1]`, categories strings
`[N, 1]`, an image uint8 `[N, height, width, channels]`. Its outputs are those of
`creche.contract.outputs`. A missing number is NaN, a missing category the empty text. A row with an
unseen category, a missing value, infinity or a number beyond the contract's limits is predicted
`unknown`, with NaN and an empty prediction set, never a class, except where the contract takes
missing values or unseen categories. Its metadata are those of `creche.model.metadata`.

Reading it needs numpy and onnxruntime; what needs onnx is imported where it is used.
"""

import hashlib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from creche.contract.outputs import OOD_SCORE, OUTPUTS, PREDICTION_SET, PROBABILITIES
from creche.errors import DataError, ModelError
from creche.model.encoders import CategoryEncoder
from creche.model.metadata import GoldenRows, ModelMetadata
from creche.model.predictions import Predictions

__all__ = ["UNREGISTERED", "Model", "Predictions", "processors"]

UNREGISTERED = "file"  # in place of a version number, of a model that is named by its path
CPU = "CPUExecutionProvider"
# The label is read off the probabilities, which is faster than strings out of the graph.
PREDICTED = [PROBABILITIES, OOD_SCORE, PREDICTION_SET]
# Rows that are predicted at once: a network's layers take much more memory than its inputs.
IMAGE_BATCH = 256
TABLE_BATCH = 131_072
PROBABILITY_TOLERANCE = 1e-5  # between processors
# A share of few calibration rows: on another processor a distance may fall on the other side of
# one of them.
OOD_SCORE_TOLERANCE = 0.1


class Model:
    """A model file, checked and ready to predict."""

    def __init__(
        self,
        path: Path,
        digest: str | None = None,
        provider: str = CPU,
        verdict_id: str | None = None,
    ) -> None:
        """Load the file into onnxruntime, with one thread for each processor of the affinity mask.

        Args:
            path: of the file.
            digest: SHA-256 that it must have.
            provider: execution provider of onnxruntime.
            verdict_id: of the gate's verdict on it, where the registry records one.

        Raises:
            ModelError: the file does not exist, is not a model of ours, its SHA-256 is not
                `digest`, or onnxruntime has no such provider.
        """
        self.verdict_id = verdict_id
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror or error}") from None
        self._open(content, path, digest, provider)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """Return the model from the bytes of its file."""
        model = cls.__new__(cls)
        model.verdict_id = None
        model._open(content, Path("this model"), None, CPU)
        return model

    def _open(self, content: bytes, path: Path, digest: str | None, provider: str) -> None:
        self.content = content
        self.path = path
        self.digest = hashlib.sha256(content).hexdigest()
        if digest and self.digest != digest:
            raise ModelError(
                f"{path} is not the file that was registered: SHA-256 {self.digest}, not {digest}"
            )
        self.session = _open_session(content, path, provider)
        properties = self.session.get_modelmeta().custom_metadata_map
        self.metadata = ModelMetadata.from_properties(properties, str(path))
        self.contract = self.metadata.contract
        self.label = self.metadata.label
        self.classes = self.metadata.preprocessor.classes
        decision = self.metadata.decision
        self.decision_weights = decision.as_array(self.classes) if decision else None
        self._check_graph(path)

    def _check_graph(self, path: Path) -> None:
        """Check that inputs and outputs of the graph are those of the metadata.

        Raises:
            ModelError: they are not.
        """
        inputs = sorted(value.name for value in self.session.get_inputs())
        if inputs != sorted(self.contract.columns):
            raise ModelError(
                f"{path}: the graph takes {', '.join(inputs)}, and the contract has "
                f"{', '.join(self.contract.columns)}"
            )
        for value in self.session.get_inputs():
            column = self.contract.columns[value.name]
            row_shape = [*column.shape] if column.type.is_image else [1]
            if value.type != column.type.onnx_input_type or value.shape[1:] != row_shape:
                raise ModelError(
                    f"{path}: the graph takes {value.name} as {value.type} {value.shape}, and the "
                    f"contract states a {column.kind}"
                )
        shapes = {value.name: value.shape for value in self.session.get_outputs()}
        for output in OUTPUTS:
            if output.name not in shapes:
                raise ModelError(f"{path}: the graph has no output {output.name}")
            if output.is_per_class and shapes[output.name][-1] != len(self.classes):
                raise ModelError(
                    f"{path}: the graph's {output.name} is not for {len(self.classes)} classes"
                )

    @property
    def category_encoders(self) -> dict[str, CategoryEncoder]:
        """Category → its encoder, which knows the codes of its values."""
        encoders = {}
        for encoder in self.metadata.preprocessor.encoders:
            if isinstance(encoder, CategoryEncoder):
                encoders[encoder.column] = encoder
        return encoders

    def predict(self, columns: Mapping[str, np.ndarray]) -> Predictions:
        """Return predictions by the file's own graph.

        Args:
            columns: numbers and text (n,), pixels (n, height, width, channels).

        Raises:
            DataError: a column of numbers holds something else.
        """
        feed = {}
        for name, column in self.contract.columns.items():
            try:
                feed[name] = column.type.model_input(columns[name], column)
            except ValueError as error:
                raise DataError(f"column {name} of the model's input: {error}") from None
        probabilities, ood_score, sets = self._run(self.session, PREDICTED, feed, rows_axis=0)
        return Predictions(probabilities, ood_score, sets, self.classes, self.decision_weights)

    def predict_encoded(self, columns: Mapping[str, np.ndarray]) -> Predictions:
        """Return predictions by the graph without strings: bit for bit those of `predict`.

        It runs on one thread, so that callers may run several at once.

        Args:
            columns: (n,) float32: numbers, and the codes of `category_encoders`, NaN for a value
                that the model does not take; pixels (n, height, width, channels).
        """
        feed = {}
        for encoder in self.metadata.preprocessor.encoders:
            feed[encoder.encoded_input] = encoder.encoded_array(columns[encoder.column])
        outputs = self._run(self.encoded_session, None, feed, rows_axis=-1)
        probabilities, ood_score, sets = outputs
        return Predictions(probabilities.T, ood_score, sets.T, self.classes, self.decision_weights)

    @cached_property
    def encoded_session(self) -> ort.InferenceSession:
        """The graph without strings, on one thread."""
        from creche.model.encoded_graph import encoded_graph

        return _session(encoded_graph(self.content), threads=1)

    def _run(
        self,
        session: ort.InferenceSession,
        outputs: list[str] | None,
        feed: Mapping[str, np.ndarray],
        rows_axis: int,
    ) -> list[np.ndarray]:
        """Return the outputs, whose rows lie along `rows_axis`; of many rows in batches."""
        rows = len(next(iter(feed.values())))
        batch_rows = IMAGE_BATCH if self.contract.image_columns else TABLE_BATCH
        if rows <= batch_rows:
            return list(session.run(outputs, feed))
        batches = []
        for start in range(0, rows, batch_rows):
            batch = {name: cells[start : start + batch_rows] for name, cells in feed.items()}
            batches.append(session.run(outputs, batch))
        return [np.concatenate(parts, rows_axis) for parts in zip(*batches, strict=True)]

    def predict_golden(self, rows: Mapping[str, list[Any]]) -> GoldenRows:
        """Return rows with their predictions, as they are written into the metadata.

        Args:
            rows: column → JSON cells; null for NaN, an image's pixels in base64.
        """
        columns = {}
        for name, column in self.contract.columns.items():
            columns[name] = column.type.golden_array(rows[name], column)
        predictions = self.predict(columns)
        return GoldenRows(
            rows=dict(rows),
            label=predictions.labels.tolist(),
            probabilities=[_without_nan(row) for row in predictions.probabilities],
            ood_score=_without_nan(predictions.ood_score),
        )

    def verify(self) -> list[str]:
        """Predict the golden rows again, and return what differs from the recorded predictions, in
        sentences.

        Raises:
            ModelError: there are none, or their cells cannot be read.
        """
        recorded = self.metadata.golden
        if not recorded.label:
            raise ModelError(f"{self.path} has no golden rows to predict again")
        try:
            current = self.predict_golden(recorded.rows)
        except ValueError as error:
            raise ModelError(f"{self.path}: the golden rows cannot be read ({error})") from None
        mismatches = []
        for row, label in enumerate(recorded.label):
            if current.label[row] != label:
                mismatches.append(
                    f"golden row {row} is predicted {current.label[row]}, not {label}"
                )
        pairs = (
            (PROBABILITIES, current.probabilities, recorded.probabilities, PROBABILITY_TOLERANCE),
            (OOD_SCORE, current.ood_score, recorded.ood_score, OOD_SCORE_TOLERANCE),
        )
        for name, current_values, recorded_values, tolerance in pairs:
            difference = _largest_difference(current_values, recorded_values)
            # Not `>`: NaN, where only one of them is a number, is a mismatch too.
            if not difference <= tolerance:
                mismatches.append(
                    f"{name} of the golden rows differ by {difference:.2g}, more than {tolerance:g}"
                )
        return mismatches


def _without_nan(values: np.ndarray) -> list[float | None]:
    """Return numbers (n,) as JSON, null for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _largest_difference(current: list[Any], recorded: list[Any]) -> float:
    """Return the largest difference of two lists of JSON numbers; of nulls in both it is 0."""
    first = np.array(current, np.float64)  # None becomes NaN
    second = np.array(recorded, np.float64)
    is_nan_in_both = np.isnan(first) & np.isnan(second)
    return float(np.where(is_nan_in_both, 0, np.abs(first - second)).max())


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_session(content: bytes, path: Path, provider: str) -> ort.InferenceSession:
    """Return a session on all processors.

    Raises:
        ModelError: onnxruntime cannot load the content, or not with this provider.
    """
    available = ort.get_available_providers()
    if provider not in available:
        raise ModelError(f"onnxruntime has no {provider} here, only {', '.join(available)}")
    try:
        session = _session(content, processors(), provider)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise ModelError(
            f"{path} is no model that onnxruntime can load: {str(error).splitlines()[0]}"
        ) from None
    # onnxruntime falls back to the CPU without an error.
    if session.get_providers()[0] != provider:
        raise ModelError(
            f"onnxruntime has {provider}, but cannot use it here: check that its device is present"
        )
    return session


def _session(content: bytes, threads: int, provider: str = CPU) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work would take the processors from reading and writing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=[provider])
