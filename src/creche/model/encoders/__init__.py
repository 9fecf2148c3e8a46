"""Encoders: each turns one raw column into inputs of the network, in numpy and in ONNX alike.

A new encoding is one class here. Importing it needs numpy alone, so that `creche predict` starts at
once.
"""

from collections.abc import Mapping

from creche.model.encoders.base import EncodedColumn, Encoder
from creche.model.encoders.categories import CategoryEncoder, EmbeddingEncoder, OneHotEncoder
from creche.model.encoders.dates import DatePartsEncoder
from creche.model.encoders.images import MAX_PIXEL, ImageEncoder
from creche.model.encoders.levels import OrdinalEncoder, ThermometerEncoder
from creche.model.encoders.numbers import (
    DivideEncoder,
    PassthroughEncoder,
    RobustEncoder,
    StandardizeEncoder,
)

ENCODERS: Mapping[str, type[Encoder]] = {
    encoder.encoding: encoder
    for encoder in (
        StandardizeEncoder,
        RobustEncoder,
        PassthroughEncoder,
        DivideEncoder,
        OneHotEncoder,
        EmbeddingEncoder,
        OrdinalEncoder,
        ThermometerEncoder,
        DatePartsEncoder,
        ImageEncoder,
    )
}

__all__ = [
    "ENCODERS",
    "MAX_PIXEL",
    "CategoryEncoder",
    "DatePartsEncoder",
    "DivideEncoder",
    "EmbeddingEncoder",
    "EncodedColumn",
    "Encoder",
    "ImageEncoder",
    "OneHotEncoder",
    "OrdinalEncoder",
    "PassthroughEncoder",
    "RobustEncoder",
    "StandardizeEncoder",
    "ThermometerEncoder",
]
