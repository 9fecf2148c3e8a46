"""The model registry in MLflow: runs with live metrics, versions, and the alias `champion`."""

from creche.registry.judged_runs import (
    JudgedRun,
    RecordedVerdict,
    last_judged_run,
    recorded_verdicts,
)
from creche.registry.reader import (
    CHAMPION,
    FLOW_RUN_ID_TAG,
    MLFLOW_RUN_ID_TAG,
    RUN_ID_TAG,
    StoredRun,
    StoredVersion,
)
from creche.registry.store import StoreLocation, store_exists, store_location
from creche.registry.tracked_runs import HOLDOUT_METRICS, TrackedRun, download_run_files
from creche.registry.unfinished import DeadRun, dead_runs, mark_killed, unfinished_runs
from creche.registry.versions import (
    ModelVersion,
    cached_model_path,
    champion,
    champion_version,
    create_version,
    delete_version,
    find_version,
    list_versions,
    open_model,
    register,
    registered_version,
    set_champion_alias,
    tag_version,
    version_tags,
    with_trained_groups,
)

__all__ = [
    "CHAMPION",
    "FLOW_RUN_ID_TAG",
    "HOLDOUT_METRICS",
    "MLFLOW_RUN_ID_TAG",
    "RUN_ID_TAG",
    "DeadRun",
    "JudgedRun",
    "ModelVersion",
    "RecordedVerdict",
    "StoreLocation",
    "StoredRun",
    "StoredVersion",
    "TrackedRun",
    "cached_model_path",
    "champion",
    "champion_version",
    "create_version",
    "dead_runs",
    "delete_version",
    "download_run_files",
    "find_version",
    "last_judged_run",
    "list_versions",
    "mark_killed",
    "open_model",
    "recorded_verdicts",
    "register",
    "registered_version",
    "set_champion_alias",
    "store_exists",
    "store_location",
    "tag_version",
    "unfinished_runs",
    "version_tags",
    "with_trained_groups",
]
