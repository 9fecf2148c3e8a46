"""The preprocessor: the encoders of all features, fitted once and carried in the model file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from creche.contract import Column, Contract
from creche.contract.cells import MISSING_TEXT
from creche.contract.json_types import check_json, json_schema, shown
from creche.errors import DataError, listed
from creche.model.encoders import ENCODERS, EmbeddingEncoder, Encoder, ImageEncoder

if TYPE_CHECKING:
    # The recipe stands on pydantic, which `creche predict` does without.
    from creche.recipe import Encoding

FORMAT = 3  # of the JSON

# Canonical name → float64 or text (n,), or uint8 (n, height, width, channels).
Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class EmbeddedFeature:
    """An input of the network that is a code, which it takes as a learned vector."""

    position: int  # among the inputs
    n_codes: int  # codes with a vector of their own; one more code has the vector 0
    dimension: int  # numbers of a vector


@dataclass(frozen=True)
class Preprocessor:
    """Encoders in the order of the network's inputs, and classes in the order of its outputs."""

    encoders: tuple[Encoder, ...]
    classes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(encoder.width for encoder in self.encoders)

    @property
    def embedded_features(self) -> list[EmbeddedFeature]:
        """The inputs of the network that are codes."""
        features = []
        position = 0
        for encoder in self.encoders:
            if isinstance(encoder, EmbeddingEncoder):
                features.append(EmbeddedFeature(position, encoder.n_codes, encoder.dimension))
            position += encoder.width
        return features

    @property
    def image_encoder(self) -> ImageEncoder | None:
        """The encoder of the image, where the network takes one; it is then the only encoder."""
        first = self.encoders[0]
        return first if isinstance(first, ImageEncoder) else None

    @classmethod
    def fit(
        cls,
        encodings: "Mapping[str, Encoding]",
        classes: tuple[str, ...],
        training: Columns,
        contract: Contract,
    ) -> "Preprocessor":
        """Return the preprocessor fitted on the training split alone.

        Args:
            encodings: feature → encoding, as the recipe states them.
            classes: in the order of the network's outputs.
            training: columns of the training rows.
            contract: states which of them may be missing.

        Raises:
            DataError: a column has no value in any training row.
        """
        encoders = []
        for name, encoding in encodings.items():
            column = contract.columns[name]
            values = training[name]
            if column.missing == "allow":
                _check_has_values(name, values)
            encoders.append(_fit_encoder(name, encoding, values, column))
        return cls(tuple(encoders), classes)

    def transform(self, columns: Columns) -> np.ndarray:
        """Return the network's input: (n, width) float32, or uint8 (n, height, width, channels).

        The operations are those of the ONNX graph, in the same order and precision.
        """
        encoded = [encoder.transform(columns[encoder.column]) for encoder in self.encoders]
        if self.image_encoder is not None:
            return encoded[0]
        return np.concatenate(encoded, axis=1)

    def encode_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return the class index (n,), int64, of each label (n,).

        Raises:
            DataError: a label is none of the classes.
        """
        unknown_labels = sorted(set(labels) - set(self.classes))
        if unknown_labels:
            raise DataError(f"label '{unknown_labels[0]}' is none of {listed(self.classes)}")
        index_of = {name: index for index, name in enumerate(self.classes)}
        return np.array([index_of[label] for label in labels], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return the preprocessor as JSON."""
        return {
            "format": FORMAT,
            "encoders": [encoder.to_dict() for encoder in self.encoders],
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Preprocessor":
        """Return the preprocessor that `to_dict` wrote; other keys are ignored.

        Raises:
            DataError: it is of another format or shape, or names an encoding that does not exist.
        """
        if not isinstance(value, dict):
            raise DataError(f"the preprocessor is {shown(value)}, not a JSON object")
        if value.get("format") != FORMAT:
            raise DataError(
                f"the preprocessor has format {value.get('format', 1)}, and this creche reads "
                f"format {FORMAT}: run step preprocess again, and the steps after it"
            )
        try:
            check_json(value, _PreprocessorJson, "the preprocessor")
            encoders = tuple(_encoder_from_dict(fields) for fields in value["encoders"])
        except ValueError as error:
            raise DataError(str(error)) from None
        classes = tuple(value["classes"])
        if not classes or len(set(classes)) != len(classes):
            raise DataError(f"the preprocessor's classes are {shown(list(classes))}")
        return cls(encoders, classes)


class _PreprocessorJson(TypedDict):
    format: int
    encoders: list[dict[str, Any]]
    classes: list[str]


def preprocessor_schema() -> dict[str, Any]:
    """Return the JSON schema of a preprocessor."""
    schema = json_schema(_PreprocessorJson)
    encoders = []
    for encoding, encoder_type in ENCODERS.items():
        encoder = json_schema(encoder_type)
        encoder["properties"] = {"encoding": {"const": encoding}, **encoder["properties"]}
        encoder["required"] = ["encoding", *encoder["required"]]
        encoders.append(encoder)
    schema["properties"]["format"] = {"const": FORMAT}
    schema["properties"]["encoders"]["items"] = {"anyOf": encoders}
    return schema


def _encoder_from_dict(fields: Mapping[str, Any]) -> Encoder:
    """Return an encoder from its JSON.

    Raises:
        ValueError: its encoding does not exist, or a key is not one of that encoding.
    """
    encoding = fields.get("encoding")
    encoder_type = ENCODERS.get(encoding) if isinstance(encoding, str) else None
    if encoder_type is None:
        raise ValueError(
            f"the preprocessor has an encoding {shown(encoding)}, and this creche knows "
            f"{', '.join(ENCODERS)}: update it"
        )
    return encoder_type.from_dict(fields)


def _check_has_values(name: str, values: np.ndarray) -> None:
    is_missing = np.isnan(values) if values.dtype.kind == "f" else values == MISSING_TEXT
    if is_missing.all():
        raise DataError(
            f"feature '{name}' is missing in all {len(values)} rows of the training split, so that "
            "nothing can be learned from it: remove it from features, or add rows that have it"
        )


def _fit_encoder(column: str, encoding: "Encoding", values: np.ndarray, stated: Column) -> Encoder:
    options: dict[str, Any] = {} if isinstance(encoding, str) else encoding.model_dump()
    if values.ndim == 4:
        return ImageEncoder.fit(column, values, options, stated)
    if isinstance(encoding, str):
        return ENCODERS[encoding].fit(column, values, options, stated)
    # `{divide: 10}` and `{one_hot: {min_rows: 10}}` name their encoding by their key.
    key, value = next(iter(options.items()))
    if isinstance(value, dict):
        options = value
    return ENCODERS[key.replace("_", "-")].fit(column, values, options, stated)
