"""The networks that a recipe can ask for: features in, logits out."""

from torch import nn

from creche.recipe import Network


def build(spec: Network, inputs: int, classes: int) -> nn.Module:
    """An untrained network: (n, inputs) float32 → logits (n, classes)."""
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if spec.dropout:
            layers.append(nn.Dropout(spec.dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
