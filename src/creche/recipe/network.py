"""The section of a recipe that describes the network."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from creche.recipe.base import RecipeSection


class Convolution(RecipeSection):
    """A convolutional layer with ReLU and max pooling after it."""

    # Filters.
    channels: PositiveInt
    # Height and width of a filter, pixels.
    size: PositiveInt = 3
    # Pixels.
    stride: PositiveInt = 1
    # Pixels.
    padding: Annotated[int, Field(ge=0)] = 1
    # Height and width of the max pooling, pixels.
    pool: PositiveInt = 1


class Network(RecipeSection):
    """The network: a multilayer perceptron (mlp), or a convolutional network (cnn) for images."""

    # mlp, for the columns of a table; cnn, for images.
    kind: Literal["mlp", "cnn"] = "mlp"
    # The convolutional layers of a cnn.
    convolutions: tuple[Convolution, ...] = ()
    # Batch normalization after each convolution, which then has no bias.
    batch_norm: bool = False
    # The first convolution starts from the principal components of patches of training images.
    whiten: bool = False
    # How the last convolution's feature maps become a vector.
    pooling: Literal["flatten", "max"] = "flatten"
    # Average the predictions of an image and its mirror image: scoring takes twice as long.
    mirror_average: bool = False
    # Widths of the hidden layers, ReLU after each.
    hidden: tuple[PositiveInt, ...] = (10, 10)
    # Probability of dropping a unit of a hidden layer, 0..1.
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def keys_fit_the_kind(self) -> "Network":
        is_cnn = self.kind == "cnn"
        if is_cnn != bool(self.convolutions):
            raise ValueError(
                f"kind is {self.kind} with {len(self.convolutions)} convolutions: list some for a "
                "cnn, and none for an mlp"
            )
        has_cnn_keys = self.batch_norm or self.whiten or self.mirror_average
        if not is_cnn and (has_cnn_keys or self.pooling != "flatten"):
            raise ValueError(
                "batch_norm, whiten, mirror_average and pooling are for a cnn, and kind is mlp: "
                "remove them"
            )
        if self.dropout and not self.hidden:
            raise ValueError(
                f"dropout is {self.dropout:g} and hidden has no layer that it could follow: remove "
                "dropout, or add a layer"
            )
        return self

    def feature_map_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the last convolution's feature maps, in pixels.

        Args:
            height: of the image, pixels.
            width: of the image, pixels.

        Raises:
            ValueError: a convolution is larger than what reaches it.
        """
        for index, convolution in enumerate(self.convolutions):
            height = _output_length(height, convolution)
            width = _output_length(width, convolution)
            if min(height, width) < 1:
                raise ValueError(
                    f"network.convolutions.{index}: nothing is left of the image there: use a "
                    "smaller size, stride or pool, or fewer convolutions"
                )
        return height, width


def _output_length(length: int, convolution: Convolution) -> int:
    padded = length + 2 * convolution.padding
    positions = (padded - convolution.size) // convolution.stride + 1
    return positions // convolution.pool
