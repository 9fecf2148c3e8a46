"""Records of the evaluation: what the model file is worth on the holdout (`evaluation.json`)."""

from typing import Literal

from pydantic import Field

from creche.records.base import Record


class ClassMetrics(Record):
    rows: int
    precision: float
    recall: float | None  # None: the holdout has no row of this class


class MetricEstimate(Record):
    """A metric with its 95 % interval."""

    value: float | None  # None: the holdout has no row to measure it on
    low: float | None = None  # None: the holdout does not show how it varies
    high: float | None = None
    rows: int  # that it is measured on
    interval: str | None = None  # the method: Wilson, or bootstrap of groups


class DecisionReport(Record):
    """Class weights by which the label is decided on, in place of the most likely class."""

    metric: str  # of the validation rows, that the weights are best for
    weights: dict[str, float]  # class → factor of its probability
    rows: int  # validation rows
    value: float  # of the metric there
    value_of_most_likely: float  # of the metric there, if each row were its most likely class


class CalibrationBin(Record):
    """Rows whose highest probability falls into one of ten equal bins."""

    rows: int
    confidence: float | None  # mean highest probability
    accuracy: float | None


class SliceMetrics(Record):
    """The rows where a column has one value."""

    column: str
    value: str
    rows: int
    accuracy: float | None  # None: no such row


class Parity(Record):
    """How far the model file's probabilities are from torch's, on the rows that both predict."""

    rows: int  # that both predict; a row that is unknown to one of them is not compared
    max_difference: float | None  # None: no such row
    label_mismatches: int


class UnseenValue(Record):
    """A category of holdout rows that no training row had."""

    column: str
    value: str
    rows: int


class UnknownPredictions(Record):
    """The holdout rows that the model predicts as `unknown`, which count as wrong."""

    rows: int
    unseen_values: list[UnseenValue]  # of these rows, most frequent first


class OodMetrics(Record):
    """What the OOD scores of the holdout are worth."""

    rows: int  # of the holdout that have a prediction
    not_finite: int  # of them that have no number as their score
    zero: int  # of them that have score 0: farther from training than 99 % of calibration rows
    noise_rows: int  # that they are compared with
    auroc: float | None  # how well the score tells holdout rows from noise; None: no noise


class PredictionSetMetrics(Record):
    covered: int  # rows whose set holds the true class
    mean_size: float  # classes
    coverage: float  # that is promised, 0..1
    calibration_rows: int


class FileChecks(Record):
    """The model file in a fresh process without torch."""

    provider: str  # of onnxruntime
    bytes: int
    latency_ms: float  # of one row, median
    golden_mismatches: list[str]
    batch_size_difference: (
        float  # largest difference of a probability between batch sizes; 1: of a label
    )


class BehaviorResult(Record):
    """One behavior test of the recipe."""

    name: str
    expected: str  # in words
    rows: int
    share: float | None  # of those rows that behave as expected; None: no row to test
    threshold: float


class IsolatedReport(Record):
    """What is measured of a model file in a process without torch."""

    file: FileChecks
    behavior: list[BehaviorResult]
    ood: OodMetrics


class ClassificationMetrics(Record):
    """Metrics of a classifier from its labels and probabilities."""

    rows: int
    correct: int
    accuracy: float  # 0..1
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    log_loss: float  # nats
    classes: list[str]
    per_class: dict[str, ClassMetrics]
    confusion_matrix: list[list[int]]  # true class by row, predicted class by column
    expected_calibration_error: float  # 0..1
    calibration_bins: list[CalibrationBin]


class Evaluation(ClassificationMetrics):
    """Metrics of a model file on the holdout."""

    format: Literal[1] = 1
    digest: str  # SHA-256 of the model file
    # Of a cross-validation: each row was predicted by a model of one of so many folds.
    folds: int | None = None
    slices: list[SliceMetrics]
    unknown: UnknownPredictions
    parity: Parity | None
    prediction_sets: PredictionSetMetrics
    ood: OodMetrics
    file: FileChecks
    behavior: list[BehaviorResult]
    mistakes: int | None = None  # of images: wrongly predicted ones
    decision: DecisionReport | None = None  # None: the most likely class
    # Every metric that a recipe may name, and `recall of CLASS` and `precision of CLASS`.
    metrics: dict[str, MetricEstimate] = Field(default_factory=dict)
