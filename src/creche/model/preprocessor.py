"""What stands between raw columns and the network: vocabulary and scaling, fitted once and carried
in the model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from creche.errors import DataError
from creche.recipe import Divide, Encoding, Scale

Columns = Mapping[
    str, np.ndarray
]  # canonical name → float64 or text (n,), or uint8 (n, height, width, channels)
WHITE = 255.0


@dataclass(frozen=True)
class Feature:
    """One raw column on its way into the network: (value - mean) / scale, or codes of a vocabulary.

    The values of an image are 0 to 1, and every channel has its own mean and scale; the network
    itself applies them.
    """

    name: str
    kind: Literal["number", "one-hot", "ordinal", "image"]
    mean: float = 0.0
    scale: float = 1.0
    vocabulary: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()  # of an image: height, width, channels

    @property
    def width(self) -> int:
        return len(self.vocabulary) if self.kind == "one-hot" else 1


@dataclass(frozen=True)
class Preprocessor:
    """Features in network order, and the classes in output order."""

    features: tuple[Feature, ...]
    classes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(f.width for f in self.features)

    @classmethod
    def fit(
        cls, encodings: Mapping[str, Encoding], classes: tuple[str, ...], training: Columns
    ) -> "Preprocessor":
        """Fit on the training side alone. Population standard deviation; a constant column keeps
        scale 1.
        """
        return cls(tuple(_fit(name, e, training[name]) for name, e in encodings.items()), classes)

    def apply(self, columns: Columns) -> np.ndarray:
        """The network's input (n, width) as float32, computed in the same order and precision as in
        the model file.

        An image goes in as it is, uint8 (n, height, width, channels).
        """
        if self.features[0].kind == "image":
            return columns[self.features[0].name]
        return np.concatenate([_apply(f, columns[f.name]) for f in self.features], axis=1)

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Class index of each label (n,) as int64.

        Raises:
            DataError: a label is none of the classes.
        """
        strange = sorted(set(labels) - set(self.classes))
        if strange:
            raise DataError(f"label '{strange[0]}' is none of {', '.join(self.classes)}")
        index = {c: i for i, c in enumerate(self.classes)}
        return np.array([index[label] for label in labels], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Preprocessor":
        listed = ("vocabulary", "means", "scales", "shape")
        features = tuple(
            Feature(**{**f, **{k: tuple(f.get(k, ())) for k in listed}}) for f in value["features"]
        )
        return cls(features, tuple(value["classes"]))


def _fit(name: str, encoding: Encoding, values: np.ndarray) -> Feature:
    if values.ndim == 4:
        return _fit_image(name, encoding, values)
    match encoding:
        case "one-hot" | "ordinal":
            return Feature(name, encoding, vocabulary=tuple(sorted(set(values))))
        case "standardize":
            constant = values.min() == values.max()  # its computed deviation need not be 0
            return Feature(
                name, "number", float(np.mean(values)), 1.0 if constant else float(np.std(values))
            )
        case Divide(divide=by):
            return Feature(name, "number", scale=by)
    return Feature(name, "number")


def _fit_image(name: str, encoding: Encoding, values: np.ndarray) -> Feature:
    shape = values.shape[1:]
    if isinstance(encoding, Scale):
        means, scales = np.full(shape[2], encoding.mean), np.full(shape[2], encoding.std)
    else:
        counts = np.stack(
            [np.bincount(values[..., c].ravel(), minlength=256) for c in range(shape[2])]
        )  # (channels, 256)
        shares, levels = counts / counts[:1].sum(), np.arange(256) / WHITE
        means = shares @ levels
        scales = np.sqrt(((levels - means[:, None]) ** 2 * shares).sum(axis=1))
        scales[scales < 1 / WHITE] = 1.0
    return Feature(
        name, "image", means=tuple(means.tolist()), scales=tuple(scales.tolist()), shape=shape
    )


def _apply(feature: Feature, values: np.ndarray) -> np.ndarray:
    if feature.kind == "number":
        single: np.ndarray = values.astype(np.float32)[:, None]  # (n, 1)
        return (single - np.float32(feature.mean)) / np.float32(feature.scale)
    index = {v: i for i, v in enumerate(feature.vocabulary)}
    codes = np.array([index.get(v, np.nan) for v in values], dtype=np.float32)[:, None]  # (n, 1)
    if feature.kind == "ordinal":
        return codes
    one_hot: np.ndarray = (codes == np.arange(feature.width, dtype=np.float32)).astype(
        np.float32
    )  # (n, width)
    return one_hot
