"""The record of one production run (`run.json`)."""

from pydantic import Field

from creche.records.base import Record
from creche.records.data import SourceInfo, SplitReport, ValidationReport
from creche.records.evaluation import Evaluation
from creche.records.gate import PromotionResult, Verdict
from creche.records.training import TrainingReport


class MlflowReference(Record):
    experiment: str  # id
    run: str  # id


class RunRecord(Record):
    """All that is known of a run; a step that was not reached has left None.

    `state` is one of Promoted, Rejected, Inconclusive, Unchanged, Quarantined, Failed, Crashed,
    Interrupted.
    """

    format: int = 1
    run: str
    recipe: str
    trigger: str
    started: str  # UTC
    state: str = "Running"
    message: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)  # by step
    source: SourceInfo | None = None
    validation: ValidationReport | None = None
    split: SplitReport | None = None
    training: TrainingReport | None = None
    evaluation: Evaluation | None = None
    verdict: Verdict | None = None
    promotion: PromotionResult | None = None
    mlflow: MlflowReference | None = None
    previous_verdict: str | None = None  # of the recipe's run before
    previous_run: str | None = None  # of an unchanged run: the one whose verdict still holds
    previous: "RunRecord | None" = None  # its record, where it is still here
