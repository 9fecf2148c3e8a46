"""The model registry in MLflow: runs with live metrics, versions, and the alias `champion`."""

from creche.registry.reader import CHAMPION, StoredRun, StoredVersion
from creche.registry.store import StoreLocation, store_exists, store_location
from creche.registry.tracked_runs import (
    HOLDOUT_METRICS,
    DeadRun,
    JudgedRun,
    RecordedVerdict,
    TrackedRun,
    dead_runs,
    download_run_files,
    last_verdict,
    mark_killed,
    recorded_verdicts,
    unfinished_runs,
)
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
    resolve,
    set_champion_alias,
    tag_version,
    version_tags,
    with_trained_groups,
)

# The gate still uses the shorter name.
Version = ModelVersion

__all__ = [
    "CHAMPION",
    "HOLDOUT_METRICS",
    "DeadRun",
    "JudgedRun",
    "ModelVersion",
    "RecordedVerdict",
    "StoreLocation",
    "StoredRun",
    "StoredVersion",
    "TrackedRun",
    "Version",
    "cached_model_path",
    "champion",
    "champion_version",
    "create_version",
    "dead_runs",
    "delete_version",
    "download_run_files",
    "find_version",
    "last_verdict",
    "list_versions",
    "mark_killed",
    "open_model",
    "recorded_verdicts",
    "register",
    "resolve",
    "set_champion_alias",
    "store_exists",
    "store_location",
    "tag_version",
    "unfinished_runs",
    "version_tags",
    "with_trained_groups",
]
