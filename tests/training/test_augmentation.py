"""Augmentation of images, against slices by numpy and flips by torch."""

import numpy as np
import torch

from creche.recipe import Augment
from creche.training.augmentation import augment

CENTERED = [0.5, 0.5]


def test_augmented_images_are_shifted_and_flipped() -> None:
    x = torch.arange(2 * 6 * 6 * 1, dtype=torch.uint8).view(2, 6, 6, 1)
    indices = torch.tensor([1, 0])
    # Rows of draws: the vertical shift, the horizontal shift and the flip of each image.
    still = torch.full((3, 2), 0.5)
    assert torch.equal(augment(x, indices, still, Augment(shift=2)), x[indices])
    first_flipped = torch.tensor([CENTERED, CENTERED, [0.1, 0.9]])
    flipped = augment(x, indices, first_flipped, Augment(shift=2, horizontal_flip=True))
    assert torch.equal(flipped, torch.stack([x[1].flip(1), x[0]]))
    to_corners = torch.tensor([[0.0, 0.99], [0.0, 0.99], [0.9, 0.9]])
    shifted = augment(x, indices, to_corners, Augment(shift=2))
    padded = np.pad(x.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    assert np.array_equal(shifted[0], padded[1, 0:6, 0:6])
    assert np.array_equal(shifted[1], padded[0, 4:10, 4:10])
