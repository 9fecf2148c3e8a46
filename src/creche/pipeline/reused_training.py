"""Take the weights of an earlier run where nothing has changed that decides them.

A change of the gate, of the prediction sets or of the quarantine's limits is judged anew, and need
not be trained anew.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from creche.errors import DataError
from creche.project import CURVES, HISTORY, RUN, WEIGHTS, RunPaths, atomic_write, read_record
from creche.provenance import sha256_of
from creche.recipe import Recipe
from creche.records import RunRecord, TrainingReport
from creche.training.job import training_identity

FILES = (WEIGHTS, HISTORY, CURVES)


def reuse_training(
    recipe: Recipe, paths: RunPaths, device: str, processes: int | None
) -> TrainingReport | None:
    """Copy the files of the latest equal training into a run that has its split and preprocessor.

    Args:
        device: auto takes the training of any device.
        processes: None stands for the number in the recipe.

    Returns:
        The report of that training, which names its run; None where there is none.
    """
    if recipe.split.folds is not None:
        # The predictions that are judged depend on more than the weights.
        return None
    identity = training_identity(recipe, paths)
    expected_processes = processes or recipe.training.processes
    for record_path in _records_latest_first(paths):
        training = _training_of(record_path)
        if training is None or training.identity != identity:
            continue
        is_on_device = device in ("auto", training.device)
        if not is_on_device or training.processes != expected_processes:
            continue
        folder = record_path.parent
        if _copy_files(folder, training, paths):
            run_id = training.reused_from or folder.name
            # Where the earlier run trained says nothing of this one, which trains nothing.
            changes = {"reused_from": run_id, "pool": None, "fallback_reason": None}
            return training.model_copy(update=changes)
    return None


def _records_latest_first(paths: RunPaths) -> list[Path]:
    modified = {}
    for path in (paths.home / "runs").glob(f"*/{RUN}"):
        # `creche prune` may delete it meanwhile.
        with suppress(FileNotFoundError):
            modified[path] = path.stat().st_mtime_ns
    return sorted(modified, key=modified.__getitem__, reverse=True)


def _training_of(record_path: Path) -> TrainingReport | None:
    try:
        return read_record(record_path, RunRecord).training
    except (DataError, OSError):
        # Of another version of creche, or just pruned.
        return None


def _copy_files(folder: Path, training: TrainingReport, paths: RunPaths) -> bool:
    """Copy the files of a training, and return whether they are there and whole."""
    try:
        if not _is_whole(folder, training):
            return False
        for name in FILES:
            with atomic_write(paths / name) as temporary:
                shutil.copyfile(folder / name, temporary)
    except FileNotFoundError:
        # Just pruned.
        return False
    return True


def _is_whole(folder: Path, training: TrainingReport) -> bool:
    if not all((folder / name).is_file() for name in FILES):
        return False
    return sha256_of(folder / WEIGHTS) == training.weights_sha256
