"""The optimizer that a recipe names."""

from typing import Any, assert_never

import torch
from torch import nn

from creche.recipe import Training

# Key of a parameter group: the factor on the scheduled learning rate.
LR_MULTIPLIER = "lr_multiplier"


def build_optimizer(net: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the recipe's optimizer for the parameters of a network."""
    groups = _parameter_groups(net, training)
    lr = training.learning_rate
    decay = training.weight_decay
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                groups,
                lr,
                training.momentum,
                weight_decay=decay,
                nesterov=training.nesterov,
                fused=True,
            )
    assert_never(training.optimizer)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group, each times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group[LR_MULTIPLIER]


def _parameter_groups(net: nn.Module, training: Training) -> list[dict[str, Any]]:
    parameters = [p for p in net.parameters() if p.requires_grad]
    if not training.bias_lr_multiplier:
        return [{"params": parameters, LR_MULTIPLIER: 1.0}]
    weights = [p for p in parameters if p.ndim > 1]
    # Biases, and scale and shift of batch normalization.
    vectors = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": weights, LR_MULTIPLIER: 1.0},
        {"params": vectors, LR_MULTIPLIER: training.bias_lr_multiplier, "weight_decay": 0.0},
    ]
