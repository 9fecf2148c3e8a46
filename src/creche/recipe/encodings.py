"""How a recipe says that a feature is encoded for the network."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from creche.recipe.base import RecipeSection

DatePart = Literal["year", "month", "weekday", "day", "hour", "elapsed"]


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


class Pooling(RecipeSection):
    """Which values of a category are pooled as `other`."""

    # Training rows that a value needs for an input of its own; rarer ones are pooled.
    min_rows: PositiveInt = 1
    # How many values have an input of their own, the most frequent ones; all, if not stated.
    max_values: PositiveInt | None = None


class OneHot(RecipeSection):
    """A category with one input for each value, the rare ones pooled."""

    # Which values are pooled.
    one_hot: Pooling


class LearnedVectors(RecipeSection):
    """How the values of a category become learned vectors."""

    # Numbers of a vector.
    width: PositiveInt = 8
    # Training rows that a value needs for a vector of its own; rarer ones share one.
    min_rows: PositiveInt = 1


class Embedding(RecipeSection):
    """A category with a learned vector for each value."""

    # Of the vectors.
    embedding: LearnedVectors


class DateParts(RecipeSection):
    """Parts of a date, of which month, weekday and hour become two inputs each."""

    # `year`, `month`, `weekday`, `day`, `hour` and `elapsed`, the days since the training median.
    date_parts: Annotated[tuple[DatePart, ...], Field(min_length=1)]

    @field_validator("date_parts")
    @classmethod
    def has_each_part_once(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(parts)) < len(parts):
            raise ValueError("a part is stated twice: remove one of them")
        return parts


Encoding = (
    Literal[
        "one-hot", "ordinal", "thermometer", "standardize", "robust", "passthrough", "date-parts"
    ]
    | Divide
    | Scale
    | OneHot
    | Embedding
    | DateParts
)
