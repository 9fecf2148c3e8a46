"""Records of batch scoring (`manifest.json`, `scorings.jsonl`)."""

from typing import Literal

from creche.records.base import Record
from creche.records.evaluation import CalibrationBin, MetricEstimate


class ModelReference(Record):
    """The model that scored."""

    recipe: str
    version: str  # `file` where it was not opened through a registry
    digest: str  # SHA-256 of the model file
    verdict_id: str | None  # of the gate; None where it was not opened through a registry
    data_version: str  # MD5 of the training data, as DVC states it


class InputSummary(Record):
    """One input file and the outcome of its rows."""

    file: str
    format: str
    sha256: str
    predictions: str  # file below the output folder
    rows: int
    scored: int
    renamed: dict[str, str]  # column of the file → column of the contract, and its unit's factor


class SkippedInput(Record):
    """A file beside the input files that was not read, since it holds no observations."""

    file: str
    kind: str


class OodScoreCount(Record):
    """The scored rows whose OOD score is one of neighboring levels."""

    low: float  # the lowest of these levels
    high: float  # the highest of them
    rows: int


class KnownLabels(Record):
    """The scored rows whose label the input states, beside what the model predicts for them.

    The figures are those of `evaluation.json`, where they are of the holdout.
    """

    column: str  # the label
    rows: int
    other_rows: int = 0  # that state a label which is none of the classes; in none of the figures
    correct: int
    classes: list[str]
    confusion_matrix: list[list[int]]  # true class by row, predicted class by column
    unknown: dict[str, int]  # true class → rows that are predicted as unknown
    # accuracy, balanced_accuracy, macro_f1, log_loss (nats), brier_score, and `recall of CLASS` and
    # `precision of CLASS`; shares of rows have an interval, in which each row counts as independent
    metrics: dict[str, MetricEstimate]
    expected_calibration_error: float  # 0..1
    calibration_bins: list[CalibrationBin]

    @property
    def accuracy(self) -> float:
        """The fraction that is predicted correctly, 0..1."""
        return self.correct / self.rows


class ScoringManifest(Record):
    """A whole scoring (`manifest.json`).

    It is written last: where it exists, every file that it names is whole.
    """

    format: Literal[4] = 4
    state: Literal["scored", "refused"]
    engine: str  # version of creche
    model: ModelReference
    rows: int
    scored: int
    quarantined: int
    withheld: int  # scored rows of a refused batch, which are not published
    reasons: dict[str, int]  # reason → rows, the most frequent first; a row may have several
    labels: dict[str, int]  # predicted class → rows, `unknown` included
    # Scored rows by their OOD score; those that are predicted as unknown have none.
    ood_scores: list[OodScoreCount]
    known_labels: KnownLabels | None = None  # None: no scored row states its label
    inputs: list[InputSummary]
    skipped: list[SkippedInput]
    hidden_files: int  # hidden and marker files below the folders of the input
    seconds: float


class LoggedInput(Record):
    """One input file of a logged scoring."""

    file: str
    sha256: str


class ScoringLogEntry(Record):
    """One published scoring: a line of `scorings.jsonl`."""

    format: Literal[1] = 1
    time: str  # UTC, ISO 8601
    out: str  # absolute path of the output folder
    state: str
    model: ModelReference
    rows: int
    scored: int
    quarantined: int
    inputs: list[LoggedInput]
