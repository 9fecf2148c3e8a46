"""The section of a recipe that says how the network is trained."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from creche.recipe.base import Fraction, RecipeSection, Seed
from creche.recipe.metrics import ClassName

# What these keys say does not change what is learned. That holds within float tolerance for the
# number of processes, which add up their gradients in another order.
OPERATIONAL_KEYS = {
    "log_every",
    "checkpoint_epochs",
    "checkpoint_minutes",
    "processes",
    "restarts",
    "timeout_seconds",
    "pool",
    "start_timeout_seconds",
    "fallback",
}


class Augment(RecipeSection):
    """How training images are changed, at random, each time they are used."""

    # Mirror half of the images.
    horizontal_flip: bool = False
    # Move the image by up to so many pixels; what comes into view is reflected.
    shift: Annotated[int, Field(ge=0)] = 0

    @property
    def is_enabled(self) -> bool:
        return self.horizontal_flip or self.shift > 0


class Training(RecipeSection):
    """How the network is trained."""

    # The optimizer of PyTorch.
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    # Learning rate; the highest one, where a schedule changes it.
    learning_rate: PositiveFloat = 1e-3
    # Learning rate over the batches. one-cycle: linearly up from 0, then linearly down to 0.
    schedule: Literal["constant", "one-cycle"] = "constant"
    # Fraction of the batches in which the learning rate rises, 0..1.
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.2
    # Momentum of sgd, 0..1.
    momentum: Fraction = 0.0
    # Nesterov momentum, of sgd.
    nesterov: bool = False
    # Weight decay: the L2 penalty of adam and sgd; of adamw, decoupled from the gradient.
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    # Learning rate of biases and batch normalization, as a multiple of the others'; they then have
    # no weight decay.
    bias_lr_multiplier: PositiveFloat | None = None
    # Label smoothing of the cross-entropy, 0..1.
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # Weight of a row in the loss by its class; balanced: n / (K · n_k) with n training rows, n_k of
    # them of the class, and K classes; a class that is not named has 1. The validation loss is not
    # weighted.
    class_weights: Literal["none", "balanced"] | dict[ClassName, float] = "none"
    # Random changes of training images.
    augment: Augment = Augment()
    # Precision of the forward pass; the weights are always float32.
    precision: Literal["float32", "bfloat16"] = "float32"
    # Passes over the training rows.
    epochs: PositiveInt = 100
    # Epochs without a lower validation loss after which training stops.
    patience: PositiveInt | None = None
    # Rows, of all processes together; or `full`.
    batch_size: PositiveInt | Literal["full"] = 32
    # When the order of the training rows is drawn.
    shuffle: Literal["never", "once", "each-epoch"] = "each-epoch"
    # How often each training row is used in an epoch.
    repeat: PositiveInt = 1
    # The epoch whose weights are kept: the one of lowest validation loss, or the last one.
    checkpoint_selection: Literal["best", "last"] = "best"
    # Same seed, same bits; otherwise CUDA may use faster kernels.
    deterministic: bool = True
    # Seed of the initial weights, the order of the rows, dropout and augmentation.
    seed: Seed = 0
    # Batches whose mean loss goes into the history as one number.
    log_every: PositiveInt | None = None
    # Epochs between two checkpoints.
    checkpoint_epochs: PositiveInt | None = None
    # Minutes after which another checkpoint is written.
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 5.0
    # Processes that share each batch.
    processes: PositiveInt = 1
    # How often all processes are started again, from the checkpoint, when one of them dies.
    restarts: Annotated[int, Field(ge=0)] = 0
    # Seconds that a process waits for another one.
    timeout_seconds: PositiveInt = 300
    # The Prefect work pool where a scheduled or submitted run trains.
    pool: str = "cpu"
    # Seconds that such a run waits until a worker of the pool has started the training.
    start_timeout_seconds: PositiveInt = 60
    # What it does when none has, or when that machine has no such device.
    fallback: Literal["fail", "cpu"] = "fail"

    @model_validator(mode="after")
    def nesterov_has_momentum(self) -> "Training":
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov needs a momentum above 0, and it is 0: set momentum, or remove nesterov"
            )
        return self
