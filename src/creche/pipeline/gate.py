"""Step gate: judge the model file, by its checks and against the current champion."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from creche import registry
from creche.data import pixel_store
from creche.data.row_keys import ROW_KEY_FORMAT
from creche.data.split import holdout_rows, rows_outside_holdout
from creche.errors import ModelError, RegistryError, StoreError
from creche.evaluation.slices import holdout_slices
from creche.gate import compare, decide, holdout_digest, with_id
from creche.model.artifact import UNREGISTERED, Model
from creche.project import (
    EVALUATION,
    HOLDOUT,
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

INPUTS = (MODEL, SPLIT, EVALUATION, HOLDOUT)
OUTPUTS = (VERDICT,)


def run(recipe: Recipe, paths: RunPaths) -> Verdict:
    """Write the verdict on the model file against the current champion, if there is one."""
    table = pixel_store.read_table(paths / SPLIT, paths)
    holdout = holdout_rows(table)
    not_holdout = rows_outside_holdout(table)
    rows = pd.read_csv(paths / HOLDOUT, dtype=str, keep_default_na=False)
    verdict = judge(
        predicted=rows["predicted"].to_numpy(),
        trained_groups=set(not_holdout["group_hash"].to_pylist()),
        champion=_current_champion(recipe, paths),
        holdout=holdout,
        evaluation=read_record(paths / EVALUATION, Evaluation),
        recipe=recipe,
    )
    write_record(paths / VERDICT, verdict)
    return verdict


def _current_champion(recipe: Recipe, paths: RunPaths) -> ModelVersion | str | None:
    """Return the champion, None where there never was one, or why it cannot be used."""
    try:
        champion = registry.champion(recipe.name, paths)
        if champion is not None or not registry.store_exists(paths):
            return champion
        last = promotion_log.head(promotion_log.entries(recipe.name, paths))
    except StoreError:
        # The store is away for now; the step is tried again.
        raise
    except RegistryError as error:
        return str(error)
    return f"version {last.version} was deleted" if last else None


def judge(
    predicted: np.ndarray,
    trained_groups: set[int],
    champion: ModelVersion | str | None,
    holdout: pa.Table,
    evaluation: Evaluation,
    recipe: Recipe,
) -> Verdict:
    """Return the verdict on a model, by its evaluation and beside the champion.

    Its id is the digest of its content.

    Args:
        predicted: the challenger's labels (n,) of the holdout rows.
        trained_groups: hashes of the groups that the challenger was trained on.
        champion: a sentence says that there is one, and why it cannot be used.
    """
    comparison: Comparison | str | None = None
    reference = None
    if isinstance(champion, ModelVersion):
        reference = ChampionReference(version=champion.version, digest=champion.digest)
        comparison = _compare(predicted, trained_groups, champion, holdout, recipe)
    elif champion:
        comparison = _not_comparable(champion, recipe)
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


def why_not_comparable(version: ModelVersion, holdout: pa.Table, recipe: Recipe) -> str | None:
    """Return why a model cannot be evaluated on this holdout; None where it can."""
    name = f"version {version.version}" if version.version != UNREGISTERED else version.path.name
    try:
        model = Model(version.path, version.digest)
    except ModelError as error:
        return f"{name} cannot be read ({error})"
    return (
        _other_columns(name, model, holdout, recipe)
        or _other_split(name, version, recipe)
        or _trained_on_holdout(name, version, holdout)
    )


def _other_columns(name: str, model: Model, holdout: pa.Table, recipe: Recipe) -> str | None:
    for column_name in model.contract.columns:
        if column_name not in holdout.column_names:
            return f"{name} needs column {column_name}, which this recipe no longer has"
    if (model.label, model.classes) != (recipe.label, recipe.classes):
        classes = ", ".join(model.classes)
        return f"{name} predicts {model.label} as {classes}, which is not what this recipe asks"
    for column_name, column in model.contract.columns.items():
        own_column = recipe.columns[column_name]
        if (column.kind, column.unit) != (own_column.kind, own_column.unit):
            return (
                f"{name} takes {column_name} as a {column.kind} in {column.unit}, which this "
                "recipe does not"
            )
        if column.type.is_image and column.shape != own_column.shape:
            return f"{name} takes {column_name} in another size, which this recipe does not"
        null_count = holdout[column_name].null_count
        if null_count:
            return f"{name} needs {column_name}, which {null_count} holdout rows lack"
    return None


def _other_split(name: str, version: ModelVersion, recipe: Recipe) -> str | None:
    if not version.split:
        return f"what {name} was trained on is not on record here"
    if version.row_key_format != ROW_KEY_FORMAT:
        return (
            f"{name} states its training rows by row keys of format {version.row_key_format}, and "
            f"this creche has format {ROW_KEY_FORMAT}, so this holdout may hold its own rows"
        )
    if version.split != recipe.split_digest:
        return f"{name} was trained under another split, so this holdout may hold its own rows"
    return None


def _trained_on_holdout(name: str, version: ModelVersion, holdout: pa.Table) -> str | None:
    trained_on = set(version.trained_on)
    rows = sum(group in trained_on for group in holdout["group_hash"].to_pylist())
    if not rows:
        return None
    return f"{name} was trained on {rows} of the {holdout.num_rows} holdout rows"


def _not_comparable(reason: str, recipe: Recipe) -> str:
    remedy = f"to change champions all the same: creche promote {recipe.name}@VERSION --reason …"
    return f"no comparison with the champion is possible: {reason}; {remedy}"


def _compare(
    predicted: np.ndarray,
    trained_groups: set[int],
    champion: ModelVersion,
    holdout: pa.Table,
    recipe: Recipe,
) -> Comparison | str:
    reason = why_not_comparable(champion, holdout, recipe)
    if reason:
        return _not_comparable(reason, recipe)
    model = Model(champion.path, champion.digest)
    actual = holdout[recipe.label].to_numpy()
    champion_labels = model.predict(pixel_store.model_arrays(holdout, model.contract)).labels
    newer_data = not trained_groups <= set(champion.trained_on)
    return compare(
        predicted == actual,
        champion_labels == actual,
        recipe.gate,
        newer_data,
        _non_empty_slices(holdout, recipe),
    )


def _non_empty_slices(holdout: pa.Table, recipe: Recipe) -> Mapping[str, np.ndarray]:
    masks = {}
    for column, value, mask in holdout_slices(holdout, recipe):
        if mask.any():
            masks[f"{column} {value}"] = mask
    return masks
