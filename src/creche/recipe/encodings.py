"""How a recipe says that a feature is encoded for the network."""

from typing import Literal

from pydantic import PositiveFloat

from creche.recipe.base import RecipeSection


class Divide(RecipeSection):
    """A number divided by a constant."""

    # The constant.
    divide: PositiveFloat


class Scale(RecipeSection):
    """Channels of an image, 0..1, less `mean` and divided by `std`."""

    # Subtracted from each channel, 0..1.
    mean: float
    # What the difference is divided by.
    std: PositiveFloat


Encoding = Literal["one-hot", "ordinal", "standardize", "passthrough"] | Divide | Scale
