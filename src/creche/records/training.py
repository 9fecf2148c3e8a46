"""Records of the training."""

from typing import Literal

from pydantic import Field

from creche.records.base import Record


class EpochMetrics(Record):
    """Metrics of one epoch. `history.json` is a list of these, which `dvc plots` reads."""

    epoch: int  # from 1
    # Mean cross-entropy of the training rows, with `training.label_smoothing` and
    # `training.class_weights`.
    loss: float
    accuracy: (
        float  # share of training rows predicted correctly, before each batch was learned from
    )
    val_loss: float  # mean cross-entropy of the monitored rows, without label smoothing
    val_accuracy: float
    batch_losses: list[float] | None = None  # mean loss of every `training.log_every` batches


class FoldReport(Record):
    """One fold of a cross-validation."""

    fold: int  # from 1
    train: int  # rows
    validation: int  # rows
    held_out: int  # rows
    selected_epoch: int


class TrainingReport(Record):
    """What a training came to."""

    device: str
    processes: int  # that shared each batch
    monitored: Literal["validation", "holdout", "train"]  # the rows that val_loss is of
    epochs: int
    selected_epoch: int  # whose weights are kept
    last_epoch: EpochMetrics
    identity: str | None = None  # SHA-256 of what decides the weights, but for device and processes
    weights_sha256: str | None = None  # of the file of weights
    folds: list[FoldReport] = Field(default_factory=list)  # of a cross-validation
    reused_from: str | None = None  # the run that trained them, where this one did not
    pool: str | None = None  # work pool that trained in place of the run's own process
    fallback_reason: str | None = (
        None  # why it was trained here on the CPU although another pool was asked for
    )


class NonZeroRankResult(Record):
    """What the step returns on a host without rank 0, and so without weights."""

    device: str
    processes: int
    weights: str  # where they are, in words


class RemoteTrainingResult(Record):
    """What a worker of another pool returns with the weights (`training.json`)."""

    format: Literal[1] = 1
    report: TrainingReport
    preprocessor_md5: str  # of the preprocessor that was fitted there
    host: str
