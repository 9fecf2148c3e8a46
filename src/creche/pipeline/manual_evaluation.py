"""Judge any model as the gate does, outside a run: nothing is recorded or promoted."""

import tempfile
from pathlib import Path

import numpy as np

from creche import registry
from creche.data import pixel_store
from creche.data.split import holdout_rows
from creche.errors import ModelError
from creche.model.artifact import UNREGISTERED, Model
from creche.pipeline import run_step
from creche.pipeline.comparability import check_comparable
from creche.pipeline.evaluate import measure
from creche.pipeline.gate import judge
from creche.pipeline.metric_comparison import HoldoutPredictions
from creche.pipeline.steps import expanded_recipe
from creche.project import SPLIT, ProjectPaths
from creche.provenance import sha256_of
from creche.recipe import load
from creche.records import Verdict
from creche.registry import ModelVersion


def evaluate_manually(reference: str, against: str | None, paths: ProjectPaths) -> Verdict:
    """Judge a model on the holdout of its recipe, beside another model if `against` names one.

    Args:
        reference: `penguins@7`, or a path to a model file.
        against: the same, of the model to compare with; None: no comparison.

    Raises:
        ModelError: the model cannot be judged on that holdout, as where it was trained on rows of
            it; `check_comparable` has all reasons.
    """
    challenger = _open_version(reference, paths)
    model = Model(challenger.path, challenger.digest)
    recipe = load(model.metadata.recipe, paths.root)
    with tempfile.TemporaryDirectory() as name:
        folder = paths.at(Path(name))
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, folder)
        recipe = expanded_recipe(recipe, folder)
        table = pixel_store.read_table(folder / SPLIT, folder)
        holdout = holdout_rows(table)
        not_comparable = check_comparable(challenger, holdout, recipe)
        if not_comparable:
            raise ModelError(
                f"{reference} cannot be judged on the holdout of recipe {recipe.name}: "
                f"{not_comparable.reason}"
            )
        measured = measure(challenger.path, table, recipe)
        opponent = _open_version(against, paths) if against else None
        return judge(
            predicted=HoldoutPredictions.of(measured.holdout_rows, model.classes),
            trained_groups=np.array(challenger.trained_on, np.uint64),
            champion=opponent,
            holdout=holdout,
            evaluation=measured.evaluation,
            recipe=recipe,
        )


def _open_version(reference: str, paths: ProjectPaths) -> ModelVersion:
    """Return a registered version, or a model file as a version.

    It has the groups that it was trained on, where those are on record.
    """
    if not reference.endswith(".onnx"):
        return registry.with_trained_groups(registry.find_version(reference, paths), paths)
    digest = sha256_of(Path(reference))
    cached = registry.cached_model_path(digest, paths)
    if cached.is_file():
        version = ModelVersion("", UNREGISTERED, digest, cached, {})
        return registry.with_trained_groups(version, paths)
    return ModelVersion("", UNREGISTERED, digest, Path(reference), {})
