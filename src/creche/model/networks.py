"""The networks that a recipe can describe: encoded features or pixels in, logits out."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from creche.model.encoders import MAX_PIXEL, ImageEncoder
from creche.model.own_network import build_own
from creche.model.preprocessor import EmbeddedFeature, Preprocessor
from creche.recipe import Convolution, Network

WHITENING_PATCHES = 200_000  # of training images, that the principal components come from
PATCH_STRIDE = 2  # pixels between two patches
EMBEDDING_STD = 0.1  # of the numbers of a learned vector, before training
WHITENING_EPSILON = 5e-4  # added to each variance


def build(spec: Network, preprocessor: Preprocessor, root: Path | None = None) -> nn.Module:
    """Return an untrained network.

    Args:
        spec: the recipe's section.
        preprocessor: fitted on the training rows; it knows the widths of input and output.
        root: folder of the project, from which a class of one's own is imported; by default the
            working directory.

    Returns:
        (n, width) float32, or for a cnn (n, height, width, channels) uint8 → logits (n, classes).
    """
    n_classes = len(preprocessor.classes)
    if preprocessor.image_encoder is not None:
        return Cnn(spec, preprocessor.image_encoder, n_classes)
    if preprocessor.embedded_features:
        return MlpWithEmbeddings(spec, preprocessor, root)
    return _classifier(spec, preprocessor.width, n_classes, root)


def _classifier(spec: Network, n_inputs: int, n_classes: int, root: Path | None) -> nn.Module:
    """Return the layers from the encoded inputs to the logits."""
    if spec.is_own:
        return build_own(spec, n_inputs, n_classes, root or Path.cwd())
    return _dense_layers(spec, n_inputs, n_classes)


def _dense_layers(spec: Network, n_inputs: int, n_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers.append(nn.Linear(n_inputs, width))
        layers.append(nn.ReLU())
        if spec.dropout:
            layers.append(nn.Dropout(spec.dropout))
        n_inputs = width
    layers.append(nn.Linear(n_inputs, n_classes))
    return nn.Sequential(*layers)


class MlpWithEmbeddings(nn.Module):
    """Dense layers, or layers of one's own, over the features, with a learned vector in place of
    each code among them.
    """

    numbers: torch.Tensor  # positions of the features that are no codes

    def __init__(self, spec: Network, preprocessor: Preprocessor, root: Path | None = None) -> None:
        super().__init__()
        self.embedded_features = preprocessor.embedded_features
        codes = [feature.position for feature in self.embedded_features]
        numbers = [position for position in range(preprocessor.width) if position not in codes]
        self.register_buffer("numbers", torch.tensor(numbers).long(), persistent=False)
        self.embeddings = nn.ModuleList(map(_embedding, self.embedded_features))
        n_inputs = len(numbers) + sum(feature.dimension for feature in self.embedded_features)
        self.dense = _classifier(spec, n_inputs, len(preprocessor.classes), root)

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return the input of the first layer (n, width'), of features (n, width)."""
        parts = [features[:, self.numbers]] if len(self.numbers) else []
        for feature, embedding in zip(self.embedded_features, self.embeddings, strict=True):
            parts.append(embedding(features[:, feature.position].long()))
        return torch.cat(parts, 1)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, classes) of what `embed` gives."""
        logits: torch.Tensor = self.dense(embedding)
        return logits

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classify(self.embed(features))


def _embedding(feature: EmbeddedFeature) -> nn.Embedding:
    """Return the vectors of a feature; that of the last code is 0, and stays so."""
    last_code = feature.n_codes
    embedding = nn.Embedding(feature.n_codes + 1, feature.dimension, padding_idx=last_code)
    with torch.no_grad():
        # A value with few rows must not begin as an outlier.
        embedding.weight.mul_(EMBEDDING_STD)
    return embedding


def _convolution_layers(spec: Network, channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for convolution in spec.convolutions:
        layers.append(_conv2d(convolution, channels, has_bias=not spec.batch_norm))
        # Pooling before ReLU gives the same as after it, and leaves the normalization less to do.
        if convolution.pool > 1:
            layers.append(nn.MaxPool2d(convolution.pool))
        if spec.batch_norm:
            layers.append(DistributedBatchNorm2d(convolution.channels))
        layers.append(nn.ReLU(inplace=True))
        channels = convolution.channels
    return layers


def _conv2d(convolution: Convolution, channels: int, has_bias: bool) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        convolution.channels,
        convolution.size,
        convolution.stride,
        convolution.padding,
        bias=has_bias,
    )


class Cnn(nn.Module):
    """Convolutions over an image, and dense layers over their feature maps.

    It standardizes the pixels itself, so that images stay uint8 up to here.
    """

    mean: torch.Tensor  # (channels,), of pixels 0..255
    scale: torch.Tensor  # (channels,), of pixels 0..255

    def __init__(self, spec: Network, encoder: ImageEncoder, n_classes: int) -> None:
        super().__init__()
        mean = torch.tensor(encoder.means).mul(MAX_PIXEL)
        scale = torch.tensor(encoder.scales).mul(MAX_PIXEL)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        height, width, channels = encoder.shape
        layers = _convolution_layers(spec, channels)
        map_height, map_width = spec.feature_map_size(height, width)
        n_features = spec.convolutions[-1].channels
        if spec.pooling == "flatten":
            layers.append(nn.Flatten())
            n_features *= map_height * map_width
        else:
            layers.append(GlobalMaxPool())
        self.body = nn.Sequential(*layers)
        self.dense = _dense_layers(spec, n_features, n_classes)
        self.mirror_average = spec.mirror_average

    def whiten(self, pixels: torch.Tensor) -> None:
        """Initialize the first convolution with whitening filters of training images.

        The filters are the principal components of patches, each divided by its standard deviation,
        and their negatives.

        Args:
            pixels: training images (n, height, width, channels), of which the first are used.

        References:
            Jordan (2024), 94% on CIFAR-10 in 3.29 Seconds on a Single GPU.
        """
        first = self.body[0]
        assert isinstance(first, nn.Conv2d)
        patches = self._patches(pixels, first.kernel_size[0])
        # Half of the filters, and the negatives of as many.
        n_components = -(-first.out_channels // 2)
        components = _whitening_filters(patches, n_components)
        filters = torch.cat([components, -components])[: first.out_channels]
        with torch.no_grad():
            first.weight[: len(filters)] = filters.view(-1, *first.weight.shape[1:])

    def _patches(self, pixels: torch.Tensor, size: int) -> torch.Tensor:
        """Return patches of the first images, (n, channels × size × size)."""
        # Every second row and column has a patch.
        pixels_per_image = pixels.shape[1] * pixels.shape[2]
        n_images = max(1, WHITENING_PATCHES * PATCH_STRIDE**2 // pixels_per_image)
        images = self._standardized(pixels[:n_images].cpu())
        patches = images.unfold(2, size, PATCH_STRIDE)
        patches = patches.unfold(3, size, PATCH_STRIDE)  # (n, channels, rows, columns, size, size)
        patches = patches.permute(0, 2, 3, 1, 4, 5)  # (n, rows, columns, channels, size, size)
        return patches.flatten(0, 2).flatten(1)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the input of the last layer (n, width), of pixels (n, height, width, channels)."""
        images = self._standardized(pixels)
        embedding: torch.Tensor = self.dense[:-1](self.body(images))
        if self.mirror_average and not self.training:
            mirrored = self.dense[:-1](self.body(images.flip(3)))
            embedding = (embedding + mirrored) / 2
        return embedding

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, classes) of what `embed` gives."""
        logits: torch.Tensor = self.dense[-1](embedding)
        return logits

    def _standardized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return images (n, channels, height, width)."""
        # The channels stay innermost in memory, the order in which convolutions are fastest.
        return ((pixels.float() - self.mean) / self.scale).permute(0, 3, 1, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classify(self.embed(pixels))


def _whitening_filters(patches: torch.Tensor, n_components: int) -> torch.Tensor:
    """Return the first principal components of patches, divided by their standard deviations."""
    covariance = patches.T.double() @ patches.double() / len(patches)
    variances, vectors = torch.linalg.eigh(covariance)  # ascending
    components: torch.Tensor = (vectors / (variances + WHITENING_EPSILON).sqrt()).T
    return components.flip(0)[:n_components].float()


class LogitsAndEmbedding(nn.Module):
    """A network with two outputs, its logits and its embedding."""

    def __init__(self, net: Cnn | MlpWithEmbeddings) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = self.net.embed(inputs)
        return self.net.classify(embedding), embedding


class GlobalMaxPool(nn.Module):
    """(n, channels, height, width) → the maximum of each channel (n, channels)."""

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
        values = x.float()  # (n, channels, height, width)
        mean, variance, count = self._statistics_of_batch(values)
        self._update_running_statistics(mean, variance, count)
        factor = self.weight / (variance + self.eps).sqrt()
        offset = self.bias - mean * factor
        normalized: torch.Tensor = values * factor[:, None, None] + offset[:, None, None]
        return normalized.to(x.dtype)

    def _statistics_of_batch(
        self, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean and variance (channels,), and the number of values of a channel ()."""
        own_count = values.new_tensor([values.numel() / values.shape[1]])
        own_sums = [values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), own_count]
        own = torch.cat(own_sums)
        sums = all_reduce(own if self.has_rows else own * 0)  # type: ignore[no-untyped-call]
        count = sums[-1].detach()
        mean, mean_square = (sums[:-1] / count).chunk(2)
        return mean, mean_square - mean.square(), count

    def _update_running_statistics(
        self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor
    ) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            unbiased = variance * count / (count - 1)
            momentum = self.momentum or 0.0
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(unbiased, momentum)
