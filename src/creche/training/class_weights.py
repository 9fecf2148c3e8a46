"""Weights of the training rows in the loss, by their class."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from creche.recipe import Training


def class_weights(
    training: Training, classes: tuple[str, ...], labels: Tensor, device: torch.device
) -> Tensor | None:
    """Return the weight of a row of each class (n_classes,); None where all rows count alike.

    Each process of a group has all training rows, and so the same weights.

    Args:
        training: the recipe's section.
        classes: in the order of the class indices.
        labels: class indices of all training rows (n,).
        device: of the weights.
    """
    stated = training.class_weights
    if stated == "none":
        return None
    if isinstance(stated, dict):
        weights = torch.tensor([stated.get(name, 1.0) for name in classes])
    else:
        counts = torch.bincount(labels.cpu(), minlength=len(classes))
        # A class without a row has no loss; a weight that is not finite would spoil it.
        weights = len(labels) / (len(classes) * counts.clamp(min=1))
    return weights.to(device, torch.float32)


def training_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float, weights: Tensor | None
) -> Tensor:
    """Return the mean cross-entropy of a batch, each row times the weight of its class.

    The mean is over the rows, as of sample weights in scikit-learn, and not over their weights, as
    with the argument `weight` of `cross_entropy`: it is then the same however a batch is shared
    among processes, and a batch that happens to hold many rare rows counts for more.

    Args:
        logits: (b, n_classes).
        labels: class indices (b,).
        label_smoothing: 0..1.
        weights: (n_classes,); None: all rows count alike.
    """
    if weights is None:
        return cross_entropy(logits, labels, label_smoothing=label_smoothing)
    losses = cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return (losses * weights[labels]).mean()
