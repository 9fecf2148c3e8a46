"""The out-of-fold predictions of the champion's run, beside those of a cross-validation."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from creche import registry
from creche.data.out_of_fold import OutOfFold
from creche.errors import RegistryError, StoreError
from creche.gate import NotComparable
from creche.project import OUT_OF_FOLD, RunPaths
from creche.recipe import Recipe
from creche.registry import ModelVersion


class OutOfFoldPair(NamedTuple):
    """The predictions of challenger and champion without their folds."""

    challenger: OutOfFold
    champion: OutOfFold | NotComparable


def champion_out_of_fold(
    champion: ModelVersion | NotComparable | None, recipe: Recipe, paths: RunPaths
) -> OutOfFold | NotComparable:
    """Return the out-of-fold predictions of the champion's run, from its folder or from MLflow."""
    if not isinstance(champion, ModelVersion):
        return champion or NotComparable("there is no champion")
    not_on_record = NotComparable(
        f"the out-of-fold predictions of version {champion.version} are not on record"
    )
    tags = registry.version_tags(recipe.name, champion.version, paths) or {}
    run_id = tags.get(registry.RUN_ID_TAG)
    if run_id is not None:
        own_path = paths.run(run_id) / OUT_OF_FOLD
        if own_path.is_file():
            return OutOfFold.read(own_path)
    mlflow_run_id = tags.get(registry.MLFLOW_RUN_ID_TAG)
    if mlflow_run_id is None:
        return not_on_record
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = registry.download_run_files(mlflow_run_id, Path(folder), paths)
        except StoreError:
            # The store is away for now; the step is tried again.
            raise
        except (RegistryError, OSError):
            return not_on_record
        path = files / OUT_OF_FOLD
        return OutOfFold.read(path) if path.is_file() else not_on_record
