"""The encoder of images: mean and standard deviation of each channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from creche.contract import Column
from creche.model.encoders.base import EncodedColumn, Encoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder

MAX_PIXEL = 255.0
PIXEL_LEVELS = 256  # values that a uint8 can have


@dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Pixels as they are; the network itself standardizes each channel.

    Standardized pixels would take four times the memory, and augmentation works on uint8.
    """

    encoding = "image"
    column_kind = "image"
    means: tuple[float, ...]  # of each channel, pixels as 0..1
    scales: tuple[float, ...]  # of each channel, pixels as 0..1
    shape: tuple[int, ...]  # height, width, channels

    @classmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        """Return the encoder with the mean and deviation that the recipe states for all channels,
        else with those of each channel of the training images.
        """
        shape = values.shape[1:]
        channels = shape[2]
        if options:
            means = np.full(channels, options["mean"])
            scales = np.full(channels, options["std"])
        else:
            means, scales = _channel_moments(values)
        return cls(name, tuple(means.tolist()), tuple(scales.tolist()), shape)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the pixels (n, height, width, channels) as they are, uint8."""
        return values

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        """Add the input (N, height, width, channels), which the model core takes as it is."""
        pixels = graph.pixel_input(self.column, self.shape)
        return EncodedColumn(pixels, pixels)

    def encoded_array(self, values: np.ndarray) -> np.ndarray:
        return values


def _channel_moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (channels,) of pixels (n, height, width, channels), as
    0..1.
    """
    # From histograms: exact, and without a copy of all images in float64.
    histograms = []
    for channel in range(pixels.shape[3]):
        levels = pixels[..., channel].ravel()
        histograms.append(np.bincount(levels, minlength=PIXEL_LEVELS))
    counts = np.stack(histograms)  # (channels, 256)
    shares = counts / counts[:1].sum()
    levels = np.arange(PIXEL_LEVELS) / MAX_PIXEL
    means = shares @ levels
    scales = np.sqrt(((levels - means[:, None]) ** 2 * shares).sum(axis=1))
    # A channel that hardly changes has nothing to scale by.
    scales[scales < 1 / MAX_PIXEL] = 1.0
    return means, scales
