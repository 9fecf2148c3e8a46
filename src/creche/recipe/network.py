"""The section of a recipe that describes the network."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from creche.recipe.base import RecipeSection
from creche.recipe.network_class import CLASS_REFERENCE

KINDS = ("mlp", "cnn")
MAX_WIDTH = 65_536  # of a layer
# An ONNX file holds 2 GiB, which are as many float32.
MAX_PARAMETERS = 500_000_000
# Keys that concern every kind; a class of one's own has no others.
KEYS_OF_ALL_KINDS = ("kind", "options", "code_digest")


def _check_kind(kind: str) -> str:
    if kind not in KINDS and not CLASS_REFERENCE.fullmatch(kind):
        raise ValueError("it must be 'mlp', 'cnn', or a class as in mypackage.nets:Wide")
    return kind


Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]


class Convolution(RecipeSection):
    """A convolutional layer with ReLU and max pooling after it."""

    # Filters.
    channels: Width
    # Height and width of a filter, pixels.
    size: PositiveInt = 3
    # Pixels.
    stride: PositiveInt = 1
    # Pixels.
    padding: Annotated[int, Field(ge=0)] = 1
    # Height and width of the max pooling, pixels.
    pool: PositiveInt = 1


class Network(RecipeSection):
    """The network: a multilayer perceptron (mlp), a convolutional network (cnn) for images, or a
    torch.nn.Module of one's own, for the columns of a table.
    """

    # mlp, for the columns of a table; cnn, for images; or `package.module:Class` of your own.
    kind: Annotated[str, AfterValidator(_check_kind)] = "mlp"
    # What a class of your own gets by name, beside inputs and classes.
    options: dict[str, Any] = Field(default_factory=dict)
    # SHA-256 of the source of a class of one's own; the loader fills it in.
    code_digest: str | None = None
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
    hidden: tuple[Width, ...] = (10, 10)
    # Probability of dropping a unit of a hidden layer, 0..1.
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def keys_fit_the_kind(self) -> "Network":
        if self.is_own:
            self._check_own_keys()
            return self
        self._check_size()
        if self.options:
            raise ValueError(
                f"options are for a class of your own, and kind is {self.kind}: remove them"
            )
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

    @property
    def is_own(self) -> bool:
        """Whether it is a class of the user's own."""
        return ":" in self.kind

    def _check_size(self) -> None:
        parameters = sum(width * following for width, following in pairwise(self.hidden))
        if parameters > MAX_PARAMETERS:
            raise ValueError(
                f"hidden has {parameters:,} parameters between its layers, and a model file holds "
                f"{MAX_PARAMETERS:,} at most: use fewer or narrower layers"
            )

    def _check_own_keys(self) -> None:
        defaults = Network()
        for key in type(self).model_fields:
            is_stated = getattr(self, key) != getattr(defaults, key)
            if key not in KEYS_OF_ALL_KINDS and is_stated:
                raise ValueError(
                    f"{key} is for mlp and cnn, and kind is {self.kind}: state it under options, "
                    "or remove it"
                )

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
