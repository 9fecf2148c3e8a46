"""Delete what nothing refers to any more, of every recipe of a project."""

from collections.abc import Callable
from dataclasses import dataclass

from creche import registry
from creche.api.project import Project
from creche.operations.issues import readable_size
from creche.pipeline.retention import delete_stale_files, prunable_versions


@dataclass(frozen=True)
class PruningReport:
    """What was deleted."""

    versions: int
    files: int  # and folders
    size: int  # of the files, bytes

    @property
    def summary(self) -> str:
        """The report as a sentence."""
        files = f"{self.files} folders and files, {readable_size(self.size)}"
        return f"{self.versions} versions deleted; {files}"


def prune_project(
    project: Project, keep: int, days: float, log: Callable[[str], None]
) -> PruningReport:
    """Delete prunable versions of every recipe, then the stale files of runs.

    Args:
        keep: the latest versions of each recipe that stay in any case.
        days: age from which folders of runs and checkpoints are stale.
        log: is called with a line for each deletion.
    """
    versions = _prune_versions(project, keep, log)
    # In this order, since what a deleted version referred to may be stale.
    deleted_files = delete_stale_files(days, project.paths)
    total_size = 0
    for path, size in deleted_files:
        log(f"{path} deleted, {readable_size(size)}")
        total_size += size
    return PruningReport(versions, len(deleted_files), total_size)


def _prune_versions(project: Project, keep: int, log: Callable[[str], None]) -> int:
    if not registry.store_exists(project.paths):
        return 0
    deleted = 0
    for recipe in project.recipes():
        for version in prunable_versions(recipe, keep, project.paths):
            registry.delete_version(version, project.paths)
            log(f"{recipe} version {version.version} deleted")
            deleted += 1
    return deleted
