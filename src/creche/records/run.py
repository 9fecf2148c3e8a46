"""The record of one production run (`run.json`)."""

from typing import Literal

from pydantic import Field

from creche.records.base import Record
from creche.records.data import SourceInfo, SplitReport, ValidationReport
from creche.records.evaluation import Evaluation
from creche.records.gate import PromotionResult, Verdict
from creche.records.training import TrainingReport

# As Prefect names the final state of the same run. A run whose process was killed leaves no record:
# Prefect shows it as Crashed, which the services set.
RunState = Literal[
    "Running",
    "Promoted",
    "Rejected",
    "Inconclusive",
    "Unchanged",
    "Quarantined",
    "Failed",
    "Interrupted",  # by Ctrl-C or a cancellation: Prefect shows Crashed or Cancelled
]


class MlflowReference(Record):
    """Where a run is in MLflow."""

    experiment_id: str
    mlflow_run_id: str


class RunRecord(Record):
    """All that is known of a run; a step that was not reached has left None.

    An unchanged run has trained nothing: what it states from `validation` on is that of
    `unchanged_since_run_id`, whose verdict still holds.
    """

    format: Literal[2] = 2
    run_id: str
    recipe: str
    trigger: str
    started: str  # UTC
    state: RunState = "Running"
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
    last_judged_verdict: str | None = None  # of the recipe's last judged run before this one
    unchanged_since_run_id: str | None = None  # the run whose verdict still holds

    @property
    def model(self) -> str | None:
        """Reference of the registered model, as in `penguins@7`; None: none was registered."""
        if self.promotion is None:
            return None
        return f"{self.recipe}@{self.promotion.version}"

    @property
    def run_id_of_files(self) -> str:
        """Id of the run whose folder has the files: an unchanged run has none of its own."""
        return self.unchanged_since_run_id or self.run_id
