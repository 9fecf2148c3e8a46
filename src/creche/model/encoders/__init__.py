"""Encoders: each turns one raw column into inputs of the network, in numpy and in ONNX alike.

A new encoding is one class here. Importing it needs numpy alone, so that `creche predict` starts at
once.
"""

from collections.abc import Mapping

from creche.model.encoders.base import EncodedColumn, Encoder
from creche.model.encoders.categories import CategoryEncoder, OneHotEncoder, OrdinalEncoder
from creche.model.encoders.images import MAX_PIXEL, ImageEncoder
from creche.model.encoders.numbers import DivideEncoder, PassthroughEncoder, StandardizeEncoder

ENCODERS: Mapping[str, type[Encoder]] = {
    encoder.encoding: encoder
    for encoder in (
        StandardizeEncoder,
        PassthroughEncoder,
        DivideEncoder,
        OneHotEncoder,
        OrdinalEncoder,
        ImageEncoder,
    )
}

__all__ = [
    "ENCODERS",
    "MAX_PIXEL",
    "CategoryEncoder",
    "DivideEncoder",
    "EncodedColumn",
    "Encoder",
    "ImageEncoder",
    "OneHotEncoder",
    "OrdinalEncoder",
    "PassthroughEncoder",
    "StandardizeEncoder",
]
