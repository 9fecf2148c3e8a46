"""Step gate: judge the model file, by its checks and against the current champion."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from creche import registry
from creche.data import pixel_store
from creche.data.split import HOLDOUT, trained_groups
from creche.errors import RegistryError, StoreError
from creche.evaluation.slices import holdout_slices
from creche.gate import NotComparable, compare, decide, holdout_digest, with_id
from creche.model.artifact import Model
from creche.pipeline.comparability import check_comparable
from creche.project import (
    EVALUATION,
    HOLDOUT_PREDICTIONS,
    MODEL,
    SPLIT,
    VERDICT,
    RunPaths,
    read_record,
    write_record,
)
from creche.recipe import Recipe
from creche.records import ChampionReference, Comparison, Evaluation, Verdict
from creche.registry import ModelVersion, promotion_log

INPUTS = (MODEL, SPLIT, EVALUATION, HOLDOUT_PREDICTIONS)
OUTPUTS = (VERDICT,)


def run(recipe: Recipe, paths: RunPaths) -> Verdict:
    """Write the verdict on the model file against the current champion, if there is one."""
    holdout = pixel_store.read_table(paths / SPLIT, paths, splits=[HOLDOUT])
    rows = pd.read_csv(paths / HOLDOUT_PREDICTIONS, dtype=str, keep_default_na=False)
    verdict = judge(
        predicted=rows["predicted"].to_numpy(),
        trained_groups=trained_groups(paths / SPLIT),
        champion=_current_champion(recipe, paths),
        holdout=holdout,
        evaluation=read_record(paths / EVALUATION, Evaluation),
        recipe=recipe,
    )
    write_record(paths / VERDICT, verdict)
    return verdict


def _current_champion(recipe: Recipe, paths: RunPaths) -> ModelVersion | NotComparable | None:
    """Return the champion, None where there never was one, or why it cannot be compared with."""
    try:
        champion = registry.champion(recipe.name, paths)
        if champion is not None or not registry.store_exists(paths):
            return champion
        last = promotion_log.head(promotion_log.entries(recipe.name, paths))
    except StoreError:
        # The store is away for now; the step is tried again.
        raise
    except RegistryError as error:
        return NotComparable(str(error))
    if last is None:
        return None
    return NotComparable(f"version {last.version} was deleted")


def judge(
    predicted: np.ndarray,
    trained_groups: np.ndarray,
    champion: ModelVersion | NotComparable | None,
    holdout: pa.Table,
    evaluation: Evaluation,
    recipe: Recipe,
) -> Verdict:
    """Return the verdict on a model, by its evaluation and beside the champion.

    Its id is the digest of its content.

    Args:
        predicted: the challenger's labels (n,) of the holdout rows.
        trained_groups: distinct hashes of the groups that the challenger was trained on (m,).
        champion: the model to compare with; None where there is none.
        holdout: the holdout rows (n,).
        evaluation: of the challenger on these rows.
        recipe: of the challenger.
    """
    comparison: Comparison | NotComparable | None
    reference = None  # to the champion
    if isinstance(champion, ModelVersion):
        reference = ChampionReference(version=champion.version, digest=champion.digest)
        comparison = _compare(predicted, trained_groups, champion, holdout, recipe)
    else:
        comparison = champion
    if isinstance(comparison, NotComparable):
        comparison = _with_remedy(comparison, recipe)
    decision = decide(evaluation, recipe.gate, comparison)
    verdict = Verdict(
        id="",
        recipe=recipe.name,
        digest=evaluation.digest,
        holdout_digest=holdout_digest(
            holdout["row"].to_pylist(), holdout["group_hash"].to_pylist()
        ),
        champion=reference,
        verdict=decision.verdict,
        reason=decision.reason,
        checks=decision.checks,
        comparison=comparison if isinstance(comparison, Comparison) else None,
    )
    return with_id(verdict)


def _with_remedy(not_comparable: NotComparable, recipe: Recipe) -> NotComparable:
    remedy = f"to change champions all the same: creche promote {recipe.name}@VERSION --reason …"
    return NotComparable(f"{not_comparable.reason}; {remedy}")


def _compare(
    predicted: np.ndarray,
    trained_groups: np.ndarray,
    champion: ModelVersion,
    holdout: pa.Table,
    recipe: Recipe,
) -> Comparison | NotComparable:
    not_comparable = check_comparable(champion, holdout, recipe)
    if not_comparable:
        return not_comparable
    model = Model(champion.path, champion.digest)
    actual = holdout[recipe.label].to_numpy()
    champion_labels = model.predict(pixel_store.model_arrays(holdout, model.contract)).labels
    has_new_training_groups = bool(
        np.setdiff1d(trained_groups, np.array(champion.trained_on, np.uint64)).size
    )
    return compare(
        predicted == actual,
        champion_labels == actual,
        recipe.gate,
        has_new_training_groups,
        _non_empty_slices(holdout, recipe),
    )


def _non_empty_slices(holdout: pa.Table, recipe: Recipe) -> Mapping[str, np.ndarray]:
    masks = {}
    for column, value, mask in holdout_slices(holdout, recipe):
        if mask.any():
            masks[f"{column} {value}"] = mask
    return masks
