"""Augmentation of training images: horizontal flips and shifts."""

import hashlib

import torch
from torch import Tensor

from creche.recipe import Augment, Training
from creche.training.dataset import Shard

FLIP_PROBABILITY = 0.5


def shard_inputs(x: Tensor, shard: Shard, training: Training, step: int) -> Tensor:
    """Return the inputs of a shard, augmented as the recipe has it.

    Args:
        x: all rows (n, …) of the data set.
        shard: the rows that this process computes.
        training: seed and augmentation.
        step: number of the batch in the whole training, from 0.

    Returns:
        (b, …), on the device of x.
    """
    indices = shard.indices.to(x.device)
    if training.augment == Augment():
        return x[indices]
    draws = _batch_draws(training.seed, step, shard.batch_size)  # (3, B)
    shard_draws = draws[:, shard.positions]  # (3, b)
    return augment(x, indices, shard_draws.to(x.device), training.augment)


def augment(x: Tensor, indices: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Shift and flip images; the edge is filled by reflection.

    Args:
        x: images (n, height, width, channels).
        indices: (b,) int64, the images to augment.
        draws: (3, b), 0..1, one for the vertical shift, the horizontal shift and the flip of each.
        spec: the largest shift in pixels, and whether images are flipped.

    Returns:
        (b, height, width, channels).
    """
    height, width, channels = x.shape[1:]
    row_draws, column_draws, flip_draws = draws
    rows = _shifted_positions(row_draws, height, spec.shift)  # (b, height)
    columns = _shifted_positions(column_draws, width, spec.shift)  # (b, width)
    if spec.horizontal_flip:
        is_flipped = flip_draws[:, None] < FLIP_PROBABILITY
        columns = torch.where(is_flipped, columns.flip(1), columns)
    # One index over all pixels of all images is several times faster than a loop over images.
    image_rows = indices[:, None] * height + rows  # (b, height)
    pixels = image_rows[:, :, None] * width + columns[:, None, :]  # (b, height, width)
    return x.reshape(-1, channels)[pixels.flatten()].view(*pixels.shape, channels)


def _batch_draws(seed: int, step: int, batch_size: int) -> Tensor:
    """Draw (3, B) numbers in 0..1.

    They are seeded by the step, so that a checkpoint need not hold them, and drawn for the whole
    batch, so that every process of a group draws the same.
    """
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    batch_seed = int.from_bytes(digest[:7], "big")
    generator = torch.Generator().manual_seed(batch_seed)
    return torch.rand((3, batch_size), generator=generator)


def _shifted_positions(draws: Tensor, length: int, shift: int) -> Tensor:
    """Return which positions (b, length) come into view, for a draw (b,) of the shift each."""
    start = (draws * (2 * shift + 1)).long() - shift  # (b,), -shift..shift
    positions = (start[:, None] + torch.arange(length, device=draws.device)).abs()
    reflected = 2 * (length - 1) - positions
    return torch.where(positions < length, positions, reflected)
