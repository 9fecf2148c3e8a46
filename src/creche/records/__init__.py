"""The records that cross a module boundary or are written as JSON: pydantic models with a format
number.

`json_schemas()` gives the schema of each; the documentation publishes them.
"""

from typing import Any

from creche.records.base import Record
from creche.records.check import FeatureInputs, NetworkSize, RecipeCheck
from creche.records.data import (
    REFERENCES_MARK,
    SourceInfo,
    SplitReport,
    TableCheck,
    ValidationReport,
)
from creche.records.evaluation import (
    BehaviorResult,
    CalibrationBin,
    ClassificationMetrics,
    ClassMetrics,
    DecisionReport,
    Evaluation,
    FileChecks,
    IsolatedReport,
    MetricEstimate,
    OodMetrics,
    Parity,
    PredictionSetMetrics,
    SliceMetrics,
    UnknownPredictions,
    UnseenValue,
)
from creche.records.gate import (
    INCONCLUSIVE,
    PROMOTE,
    REJECT,
    ChampionReference,
    CheckResult,
    Comparison,
    MetricComparison,
    MetricSliceComparison,
    PromotionResult,
    SliceComparison,
    Verdict,
    VerdictName,
)
from creche.records.model import ExportReport, ModelDescription, ModelInput
from creche.records.operations import (
    ChampionStatus,
    DoctorReport,
    FlowRunStatus,
    InboxStatus,
    IssueReport,
    ManagedProcessState,
    PoolStatus,
    ServerStatus,
    ServiceAddresses,
    ServicesState,
    ShutdownMode,
    Status,
    WorkerStatus,
)
from creche.records.profile import (
    CorrelatedColumns,
    ProfiledColumnReport,
    TableReport,
    ValueCount,
)
from creche.records.run import MlflowReference, RunRecord, RunState
from creche.records.scoring import (
    InputSummary,
    KnownLabels,
    LoggedInput,
    ModelReference,
    OodScoreCount,
    ScoringLogEntry,
    ScoringManifest,
    SkippedInput,
)
from creche.records.training import (
    EpochMetrics,
    FoldReport,
    NonZeroRankResult,
    RemoteTrainingResult,
    TrainingReport,
)

__all__ = [
    "INCONCLUSIVE",
    "PROMOTE",
    "REFERENCES_MARK",
    "REJECT",
    "BehaviorResult",
    "CalibrationBin",
    "ChampionReference",
    "ChampionStatus",
    "CheckResult",
    "ClassMetrics",
    "ClassificationMetrics",
    "Comparison",
    "CorrelatedColumns",
    "DecisionReport",
    "DoctorReport",
    "EpochMetrics",
    "Evaluation",
    "ExportReport",
    "FeatureInputs",
    "FileChecks",
    "FlowRunStatus",
    "FoldReport",
    "InboxStatus",
    "InputSummary",
    "IsolatedReport",
    "IssueReport",
    "KnownLabels",
    "LoggedInput",
    "ManagedProcessState",
    "MetricComparison",
    "MetricEstimate",
    "MetricSliceComparison",
    "MlflowReference",
    "ModelDescription",
    "ModelInput",
    "ModelReference",
    "NetworkSize",
    "NonZeroRankResult",
    "OodMetrics",
    "OodScoreCount",
    "Parity",
    "PoolStatus",
    "PredictionSetMetrics",
    "ProfiledColumnReport",
    "PromotionResult",
    "RecipeCheck",
    "Record",
    "RemoteTrainingResult",
    "RunRecord",
    "RunState",
    "ScoringLogEntry",
    "ScoringManifest",
    "ServerStatus",
    "ServiceAddresses",
    "ServicesState",
    "ShutdownMode",
    "SkippedInput",
    "SliceComparison",
    "SliceMetrics",
    "SourceInfo",
    "SplitReport",
    "Status",
    "TableCheck",
    "TableReport",
    "TrainingReport",
    "UnknownPredictions",
    "UnseenValue",
    "ValidationReport",
    "ValueCount",
    "Verdict",
    "VerdictName",
    "WorkerStatus",
    "json_schemas",
]

# The records that are written as JSON, by file; `status.json`, `doctor.json` and `check.json` are
# no files, but what these commands print with `--json`.
PUBLISHED: dict[str, type[Record]] = {
    "source.json": SourceInfo,
    "validation.json": ValidationReport,
    "evaluation.json": Evaluation,
    "verdict.json": Verdict,
    "promotion.json": PromotionResult,
    "training.json": RemoteTrainingResult,
    "run.json": RunRecord,
    "check.json": RecipeCheck,
    "manifest.json": ScoringManifest,
    "scorings.jsonl": ScoringLogEntry,
    "state.json": ServicesState,
    "status.json": Status,
    "doctor.json": DoctorReport,
    "profile.json": TableReport,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every record that is written or printed, by name."""
    return {name: record.model_json_schema() for name, record in PUBLISHED.items()}
