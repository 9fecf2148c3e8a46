"""The records that cross a module boundary or are written as JSON: pydantic models with a format
number.

`json_schemas()` gives the schema of each; the documentation publishes them.
"""

from typing import Any

from creche.records.base import Record
from creche.records.data import SourceInfo, SplitReport, ValidationReport
from creche.records.evaluation import (
    BehaviorResult,
    CalibrationBin,
    ClassMetrics,
    Evaluation,
    FileChecks,
    Parity,
    PredictionSetMetrics,
    SliceMetrics,
)
from creche.records.gate import (
    ChampionReference,
    CheckResult,
    Comparison,
    PromotionResult,
    SliceComparison,
    Verdict,
)
from creche.records.operations import (
    ChampionStatus,
    DoctorReport,
    FlowRunStatus,
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
from creche.records.run import MlflowReference, RunRecord
from creche.records.scoring import (
    InputSummary,
    LoggedInput,
    ModelReference,
    ScoringLogEntry,
    ScoringManifest,
)
from creche.records.training import EpochMetrics, TrainingReport

__all__ = [
    "BehaviorResult",
    "CalibrationBin",
    "ChampionReference",
    "ChampionStatus",
    "CheckResult",
    "ClassMetrics",
    "Comparison",
    "DoctorReport",
    "EpochMetrics",
    "Evaluation",
    "FileChecks",
    "FlowRunStatus",
    "InputSummary",
    "IssueReport",
    "LoggedInput",
    "ManagedProcessState",
    "MlflowReference",
    "ModelReference",
    "Parity",
    "PoolStatus",
    "PredictionSetMetrics",
    "PromotionResult",
    "Record",
    "RunRecord",
    "ScoringLogEntry",
    "ScoringManifest",
    "ServerStatus",
    "ServiceAddresses",
    "ServicesState",
    "ShutdownMode",
    "SliceComparison",
    "SliceMetrics",
    "SourceInfo",
    "SplitReport",
    "Status",
    "TrainingReport",
    "ValidationReport",
    "Verdict",
    "WorkerStatus",
    "json_schemas",
]

# What is written as a record today; the other models wait for the steps that will write them.
PUBLISHED: dict[str, type[Record]] = {
    "source.json": SourceInfo,
    "validation.json": ValidationReport,
    "promotion.json": PromotionResult,
    "state.json": ServicesState,
    "status.json": Status,
    "doctor.json": DoctorReport,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every record that is written, by file."""
    return {name: record.model_json_schema() for name, record in PUBLISHED.items()}
