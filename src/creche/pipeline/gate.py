"""Step gate: judge the model file, by its checks and against the current champion."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from creche import registry
from creche.data import pixel_store
from creche.data.out_of_fold import OutOfFold
from creche.data.split import HASH_COLUMN, HOLDOUT, TRAIN, trained_groups
from creche.errors import RegistryError, StoreError
from creche.evaluation.slices import holdout_slices
from creche.gate import (
    NotComparable,
    compare,
    decide,
    holdout_digest,
    with_id,
)
from creche.model.artifact import Model
from creche.pipeline.champion_folds import OutOfFoldPair, champion_out_of_fold
from creche.pipeline.comparability import check_comparable, check_comparable_by_folds
from creche.pipeline.metric_comparison import (
    HoldoutPredictions,
    PairedRows,
    compare_by_metric,
)
from creche.project import (
    EVALUATION,
    HOLDOUT_PREDICTIONS,
    MODEL,
    OUT_OF_FOLD,
    SPLIT,
    VERDICT,
    RunPaths,
    read_record,
    write_record,
)
from creche.recipe import Recipe
from creche.records import ChampionReference, Comparison, Evaluation, MetricComparison, Verdict
from creche.registry import ModelVersion, promotion_log

INPUTS = (MODEL, SPLIT, EVALUATION, HOLDOUT_PREDICTIONS)
OUTPUTS = (VERDICT,)


def run(recipe: Recipe, paths: RunPaths) -> Verdict:
    """Write the verdict on the model file against the current champion, if there is one."""
    champion = _current_champion(recipe, paths)
    out_of_fold = None
    judged_split = HOLDOUT
    if recipe.split.folds is not None:
        judged_split = TRAIN
        out_of_fold = OutOfFoldPair(
            OutOfFold.read(paths / OUT_OF_FOLD), champion_out_of_fold(champion, recipe, paths)
        )
    holdout = pixel_store.read_table(paths / SPLIT, paths, splits=[judged_split])
    rows = pd.read_csv(paths / HOLDOUT_PREDICTIONS, dtype=str, keep_default_na=False)
    verdict = judge(
        predicted=HoldoutPredictions.of(rows, recipe.classes),
        trained_groups=trained_groups(paths / SPLIT),
        champion=champion,
        holdout=holdout,
        evaluation=read_record(paths / EVALUATION, Evaluation),
        recipe=recipe,
        out_of_fold=out_of_fold,
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
    predicted: HoldoutPredictions,
    trained_groups: np.ndarray,
    champion: ModelVersion | NotComparable | None,
    holdout: pa.Table,
    evaluation: Evaluation,
    recipe: Recipe,
    out_of_fold: OutOfFoldPair | None = None,
) -> Verdict:
    """Return the verdict on a model, by its evaluation and beside the champion.

    Its id is the digest of its content.

    Args:
        predicted: what the challenger predicts for the holdout rows.
        trained_groups: distinct hashes of the groups that the challenger was trained on (m,).
        champion: the model to compare with; None where there is none.
        holdout: the holdout rows (n,).
        evaluation: of the challenger on these rows.
        recipe: of the challenger.
        out_of_fold: of a cross-validation: both models' predictions without their folds.
    """
    comparison: Comparison | MetricComparison | NotComparable | None
    reference = None  # to the champion
    if isinstance(champion, ModelVersion):
        reference = ChampionReference(version=champion.version, digest=champion.digest)
        if out_of_fold is None:
            comparison = _compare(predicted, trained_groups, champion, holdout, recipe)
        else:
            comparison = _compare_out_of_fold(
                out_of_fold, trained_groups, champion, holdout, recipe
            )
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
        comparison=None if isinstance(comparison, NotComparable) else comparison,
    )
    return with_id(verdict)


def _with_remedy(not_comparable: NotComparable, recipe: Recipe) -> NotComparable:
    remedy = f"to change champions all the same: creche promote {recipe.name}@VERSION --reason …"
    return NotComparable(f"{not_comparable.reason}; {remedy}")


def _compare(
    predicted: HoldoutPredictions,
    trained_groups: np.ndarray,
    champion: ModelVersion,
    holdout: pa.Table,
    recipe: Recipe,
) -> Comparison | MetricComparison | NotComparable:
    not_comparable = check_comparable(champion, holdout, recipe)
    if not_comparable:
        return not_comparable
    model = Model(champion.path, champion.digest)
    predictions = model.predict(pixel_store.model_arrays(holdout, model.contract))
    of_champion = HoldoutPredictions(predictions.labels, predictions.probabilities)
    return _compare_predictions(
        predicted, of_champion, _has_new_groups(trained_groups, champion), holdout, recipe
    )


def _compare_out_of_fold(
    out_of_fold: OutOfFoldPair,
    trained_groups: np.ndarray,
    champion: ModelVersion,
    holdout: pa.Table,
    recipe: Recipe,
) -> Comparison | MetricComparison | NotComparable:
    """Compare the out-of-fold predictions of both models on the rows that both have."""
    not_comparable = check_comparable_by_folds(champion, recipe)
    if not_comparable:
        return not_comparable
    own, of_champion = out_of_fold
    if isinstance(of_champion, NotComparable):
        return of_champion
    positions = of_champion.positions_of(own.row_hashes)
    is_common = positions >= 0
    if not is_common.any():
        return NotComparable(f"version {champion.version} was judged on none of these rows")
    rows = holdout.filter(pa.array(is_common))
    common = positions[is_common]
    return _compare_predictions(
        HoldoutPredictions(own.predicted[is_common], own.probabilities[is_common]),
        HoldoutPredictions(of_champion.predicted[common], of_champion.probabilities[common]),
        _has_new_groups(trained_groups, champion),
        rows,
        recipe,
    )


def _has_new_groups(trained_groups: np.ndarray, champion: ModelVersion) -> bool:
    """Whether a challenger was trained on groups that the champion was not."""
    champion_groups = np.array(champion.trained_on, np.uint64)
    return len(np.setdiff1d(trained_groups, champion_groups)) > 0


def _compare_predictions(
    challenger: HoldoutPredictions,
    champion: HoldoutPredictions,
    has_new_training_groups: bool,
    rows: pa.Table,
    recipe: Recipe,
) -> Comparison | MetricComparison | NotComparable:
    """Compare what both models predict for the same rows, by the recipe's primary metric."""
    actual = rows[recipe.label].to_numpy()
    slices = _non_empty_slices(rows, recipe)
    if recipe.gate.primary == "accuracy":
        return compare(
            challenger.labels == actual,
            champion.labels == actual,
            recipe.gate,
            has_new_training_groups,
            slices,
        )
    paired_rows = PairedRows(
        challenger.labeled(actual, recipe.classes),
        champion.labeled(actual, recipe.classes),
        rows[HASH_COLUMN].to_numpy(),
        recipe,
    )
    return compare_by_metric(paired_rows, has_new_training_groups, slices)


def _non_empty_slices(holdout: pa.Table, recipe: Recipe) -> Mapping[str, np.ndarray]:
    masks = {}
    for column, value, mask in holdout_slices(holdout, recipe):
        if mask.any():
            masks[f"{column} {value}"] = mask
    return masks
