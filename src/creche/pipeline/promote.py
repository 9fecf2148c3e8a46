"""Register the judged model as a version, and make it champion where the verdict says so."""

import pyarrow.parquet as pq

from creche import registry
from creche.data.split import (
    FOLD_COLUMN,
    HASH_COLUMN,
    SPLIT_COLUMN,
    holdout_rows,
    trained_groups,
)
from creche.errors import ModelError
from creche.gate import holdout_digest, verdict_id
from creche.model.artifact import Model
from creche.project import MODEL, PROMOTION, SPLIT, VERDICT, RunPaths, read_record, write_record
from creche.provenance import git_commit
from creche.recipe import Recipe
from creche.records import INCONCLUSIVE, PROMOTE, PromotionResult, Verdict
from creche.registry import promotion_log

INPUTS = (MODEL, SPLIT, VERDICT)
OUTPUTS = (PROMOTION,)


def run(recipe: Recipe, paths: RunPaths, tracked_run: registry.TrackedRun) -> PromotionResult:
    """Register the model file, whatever the verdict; make it champion on PROMOTE, or as the recipe
    says.

    Args:
        tracked_run: the MLflow run that the version belongs to.

    Raises:
        ModelError: the file, the verdict or the holdout is not the one that was judged.
        RegistryError: the champion is another one than the model was compared with, or another
            promotion was first.
    """
    verdict = read_record(paths / VERDICT, Verdict)
    model = Model(paths / MODEL)
    _check_unchanged(recipe, model, verdict, paths)
    # On record before anything changes because of it.
    tracked_run.log_verdict(verdict)
    version = registry.register(
        paths / MODEL,
        model.digest,
        recipe.split_digest,
        trained_groups(paths / SPLIT).tolist(),
        _version_tags(model, verdict, paths),
        tracked_run,
    )
    is_champion = _is_promoted(verdict, recipe)
    if is_champion:
        _set_champion(recipe, version, verdict, paths)
    result = PromotionResult(
        version=version,
        digest=model.digest,
        is_champion=is_champion,
        verdict_id=verdict.id,
    )
    write_record(paths / PROMOTION, result)
    return result


def _version_tags(model: Model, verdict: Verdict, paths: RunPaths) -> dict[str, str]:
    """Return what MLflow shows beside a version: its verdict, run, commit and provenance."""
    tags = {
        "compared_with": _champion_of(verdict) or "none",
        "verdict": verdict.verdict,
        "verdict_id": verdict.id,
        registry.RUN_ID_TAG: paths.folder.name,
        "git_commit": git_commit(paths.root),
    }
    for key, value in model.metadata.provenance.to_dict().items():
        tags[key] = str(value)
    return tags


def _champion_of(verdict: Verdict) -> str | None:
    """Return the version that the model was compared with."""
    return verdict.champion.version if verdict.champion else None


def _set_champion(recipe: Recipe, version: str, verdict: Verdict, paths: RunPaths) -> None:
    promotion_log.set_champion(
        recipe.name,
        version,
        paths,
        kind="promotion",
        reason=verdict.reason[: promotion_log.REASON_LENGTH],
        by=paths.folder.name,
        verdict_id=verdict.id,
        expected=_champion_of(verdict),
    )


def _is_promoted(verdict: Verdict, recipe: Recipe) -> bool:
    if verdict.verdict == PROMOTE:
        return True
    # Without a comparison, INCONCLUSIVE means that the champion could not be compared with.
    is_unsure = verdict.verdict == INCONCLUSIVE and verdict.comparison is not None
    return is_unsure and recipe.gate.inconclusive == "promote"


def _check_unchanged(recipe: Recipe, model: Model, verdict: Verdict, paths: RunPaths) -> None:
    if model.digest != verdict.digest:
        raise ModelError(
            f"{paths / MODEL} changed after it was judged: run the steps again from export on"
        )
    if verdict_id(verdict) != verdict.id:
        raise ModelError(f"{paths / VERDICT} is not as the gate wrote it: run gate again")
    columns = ["row", SPLIT_COLUMN, HASH_COLUMN]
    if recipe.split.folds is not None:
        columns.append(FOLD_COLUMN)
    holdout = holdout_rows(pq.read_table(paths / SPLIT, columns=columns))
    digest = holdout_digest(holdout["row"].to_pylist(), holdout["group_hash"].to_pylist())
    if digest != verdict.holdout_digest:
        raise ModelError(
            f"{paths / VERDICT} is about another holdout than that of {paths / SPLIT}: run gate "
            "again"
        )
