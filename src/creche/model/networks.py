"""The networks that a recipe can ask for: features or pixels in, logits out."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from creche.model.encoders import MAX_PIXEL, ImageEncoder
from creche.model.preprocessor import Preprocessor
from creche.recipe import Network

PATCHES = 200_000  # of training images, that whitening looks at
WHITEN_FLOOR = 5e-4  # added to each variance


def build(spec: Network, transform: Preprocessor) -> nn.Module:
    """An untrained network: (n, width) float32, or for a cnn (n, height, width, channels) uint8 →
    logits (n, classes).
    """
    classes = len(transform.classes)
    if transform.image_encoder is not None:
        return Cnn(spec, transform.image_encoder, classes)
    return _dense(spec, transform.width, classes)


def _dense(spec: Network, inputs: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if spec.dropout:
            layers.append(nn.Dropout(spec.dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class Cnn(nn.Module):
    """Convolutions over an image, and dense layers over what they make of it; it scales the pixels
    itself.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, spec: Network, feature: ImageEncoder, classes: int) -> None:
        super().__init__()
        for name, values in (("mean", feature.means), ("scale", feature.scales)):
            self.register_buffer(
                name, torch.tensor(values).mul(MAX_PIXEL), persistent=False
            )  # (channels,), of 0 to 255
        height, width, channels = feature.shape
        layers: list[nn.Module] = []
        for c in spec.convolutions:
            layers.append(
                nn.Conv2d(
                    channels, c.channels, c.size, c.stride, c.padding, bias=not spec.batch_norm
                )
            )
            if (
                c.pool > 1
            ):  # before ReLU, which gives the same, and before the norm, which then has less to do
                layers.append(nn.MaxPool2d(c.pool))
            if spec.batch_norm:
                layers.append(DistributedBatchNorm2d(c.channels))
            layers.append(nn.ReLU(inplace=True))
            channels = c.channels
        height, width = spec.feature_map_size(height, width)
        flat = spec.pooling == "flatten"
        self.body = nn.Sequential(*layers, nn.Flatten() if flat else GlobalMaxPool())
        self.dense = _dense(spec, channels * height * width if flat else channels, classes)
        self.mirror_average = spec.mirror_average

    def whiten(self, pixels: torch.Tensor) -> None:
        """Set the first convolution to the principal components of the patches of the first images
        (n, height, width, channels), each over its standard deviation, and to their negatives
        (Jordan, 2024, 94% on CIFAR-10 in 3.29 Seconds).
        """
        first = self.body[0]
        assert isinstance(first, nn.Conv2d)
        size = first.kernel_size[0]
        pixels = pixels[
            : max(1, 4 * PATCHES // (pixels.shape[1] * pixels.shape[2]))
        ].cpu()  # every second place has a patch
        patches = (
            self._scaled(pixels)
            .unfold(2, size, 2)
            .unfold(3, size, 2)
            .permute(0, 2, 3, 1, 4, 5)
            .flatten(0, 2)
            .flatten(1)
        )
        values, vectors = torch.linalg.eigh(
            patches.T.double() @ patches.double() / len(patches)
        )  # ascending
        parts = (
            (vectors / (values + WHITEN_FLOOR).sqrt())
            .T.flip(0)[: -(-first.out_channels // 2)]
            .float()
        )
        both = torch.cat([parts, -parts])[: first.out_channels]
        with torch.no_grad():
            first.weight[: len(both)] = both.view(-1, *first.weight.shape[1:])

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the last layer sees (n, width) of pixels (n, height, width, channels)."""
        scaled = self._scaled(pixels)
        found: torch.Tensor = self.dense[:-1](self.body(scaled))
        if self.mirror_average and not self.training:
            found = (found + self.dense[:-1](self.body(scaled.flip(3)))) / 2
        return found

    def _scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        # The channels stay innermost in memory, which is the order that convolutions are fastest
        # in.
        return ((pixels.float() - self.mean) / self.scale).permute(0, 3, 1, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dense[-1](self.embed(pixels))
        return logits


class LogitsAndEmbedding(nn.Module):
    """A cnn that tells its embedding beside its logits."""

    def __init__(self, cnn: Cnn) -> None:
        super().__init__()
        self.cnn = cnn

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = self.cnn.embed(pixels)
        return self.cnn.dense[-1](embedding), embedding


class GlobalMaxPool(nn.Module):
    """(n, channels, height, width) → the highest of each channel (n, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax((2, 3))


class DistributedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization over the whole batch where several processes share it, on any device.

    torch.nn.SyncBatchNorm does so on CUDA alone.
    """

    # Whether the rows of this process belong to the batch. A process without rows of its own
    # computes one that does not count, since every process has to call the all-reduce.
    has_rows = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        wide = x.float()
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        own = torch.cat([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), count])
        sums = all_reduce(own if self.has_rows else own * 0)  # type: ignore[no-untyped-call]
        rows = sums[-1].detach()
        mean, square = (sums[:-1] / rows).chunk(2)  # (channels,) each
        variance = square - mean.square()
        with torch.no_grad():
            unbiased = variance * rows / (rows - 1)
            momentum = self.momentum or 0.0
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(unbiased, momentum)
        factor = self.weight / (variance + self.eps).sqrt()
        scaled: torch.Tensor = (
            wide * factor[:, None, None] + (self.bias - mean * factor)[:, None, None]
        )
        return scaled.to(x.dtype)
