"""Put the model file before the gate, against the champion that reigns now."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from creche import gate
from creche.data import pixel_store
from creche.errors import ModelError, RegistryError, StoreError
from creche.model.artifact import Model
from creche.project import (
    EVALUATION,
    HOLDOUT,
    MODEL,
    SPLIT,
    VERDICT,
    RunPaths,
    read_json,
    write_json,
)
from creche.recipe import Recipe
from creche.registry import Version, champion, promotion_log, store_exists

INPUTS = (MODEL, SPLIT, EVALUATION, HOLDOUT)
OUTPUTS = (VERDICT,)


def run(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Write the verdict on the model file against the champion that reigns now, if any."""
    table = pixel_store.read_table(paths / SPLIT, paths)
    holdout, met = (
        table.filter(f) for f in (pc.field("side") == "holdout", pc.field("side") != "holdout")
    )
    predicted = pd.read_csv(paths / HOLDOUT, dtype=str, keep_default_na=False)[
        "predicted"
    ].to_numpy()
    model, evaluation = Model(paths / MODEL), read_json(paths / EVALUATION)
    learned_from = set(met["group_hash"].to_pylist())
    verdict = judge(
        model, predicted, learned_from, _reigning(recipe, paths), holdout, evaluation, recipe
    )
    write_json(paths / VERDICT, verdict)
    return verdict


def _reigning(recipe: Recipe, paths: RunPaths) -> Version | str | None:
    """The champion, None where nobody ever reigned, or why there is one that cannot be had."""
    try:
        found = champion(recipe.name, paths)
        if (
            found is None
            and store_exists(paths)
            and (last := promotion_log.head(promotion_log.entries(recipe.name, paths)))
        ):
            return f"version {last.version} was deleted"
    except StoreError:
        raise
    except RegistryError as error:
        return str(error)
    return found


def judge(
    challenger: Model,
    predicted: np.ndarray,
    learned_from: set[int],
    reigning: Version | str | None,
    holdout: pa.Table,
    evaluation: dict[str, Any],
    recipe: Recipe,
) -> dict[str, Any]:
    """The verdict on a model, by what was measured of it and beside the reigning one, with the `id`
    of its content.

    Args:
        predicted: the challenger's labels (n,) of the holdout rows.
        learned_from: hashes of the groups that the challenger met.
        reigning: a sentence says that there is one, and why it cannot be had.
    """
    comparison: dict[str, Any] | str | None = None
    against = None
    if isinstance(reigning, Version):
        against = {"version": reigning.version, "digest": reigning.digest}
        comparison = _compare(predicted, learned_from, reigning, holdout, recipe)
    elif reigning:
        comparison = _incomparable(reigning, recipe)
    verdict = {
        "recipe": recipe.name,
        "digest": evaluation["digest"],
        "holdout": gate.holdout_digest(
            holdout["row"].to_pylist(), holdout["group_hash"].to_pylist()
        ),
        "against": against,
        **gate.judge(evaluation, recipe.gate, comparison),
    }
    return {"id": gate.verdict_id(verdict), **verdict}


def unfit(version: Version, holdout: pa.Table, recipe: Recipe) -> str | None:
    """Why a model cannot be held against another on this holdout; None where it can."""
    who = f"version {version.version}" if version.version != "file" else version.path.name
    try:
        model = Model(version.path, version.digest)
    except ModelError as error:
        return f"{who} cannot be read ({error})"
    if lacking := [n for n in model.contract.columns if n not in holdout.column_names]:
        return f"{who} needs column {lacking[0]}, which this recipe no longer has"
    if (model.label, model.classes) != (recipe.label, recipe.classes):
        return f"{who} tells {model.label} as {', '.join(model.classes)}, which is not what this recipe asks"
    for name, column in model.contract.columns.items():
        if (column.kind, column.unit) != (recipe.columns[name].kind, recipe.columns[name].unit):
            return f"{who} takes {name} as a {column.kind} in {column.unit}, which this recipe does not"
        if column.kind == "image" and column.shape != recipe.columns[name].shape:
            return f"{who} takes {name} in another size, which this recipe does not"
        if holdout[name].null_count:
            return f"{who} needs {name}, which {holdout[name].null_count} holdout rows lack"
    if not version.split:
        return f"what {who} was trained on is not on record here"
    if version.split != recipe.split_digest:
        return f"{who} was trained under another split, so this holdout may hold its own rows"
    trained_on = set(version.trained_on)
    met = sum(h in trained_on for h in holdout["group_hash"].to_pylist())
    return f"{who} was trained on {met} of the {holdout.num_rows} holdout rows" if met else None


def _incomparable(reason: str, recipe: Recipe) -> str:
    way_out = f"to change champions all the same: creche promote {recipe.name}@VERSION --reason …"
    return f"no comparison with the champion is possible: {reason}; {way_out}"


def _compare(
    predicted: np.ndarray,
    learned_from: set[int],
    reigning: Version,
    holdout: pa.Table,
    recipe: Recipe,
) -> dict[str, Any] | str:
    """Both models on the same holdout, or the sentence that says why they cannot be compared
    there.
    """
    if reason := unfit(reigning, holdout, recipe):
        return _incomparable(reason, recipe)
    old = Model(reigning.path, reigning.digest)
    actual = holdout[recipe.label].to_numpy()
    answered = old.predict(pixel_store.model_arrays(holdout, old.contract)).labels
    masks = {
        f"{column} {value}": mask
        for column, value, mask in gate.slice_masks(holdout, recipe)
        if mask.any()
    }
    return gate.compare(
        predicted == actual,
        answered == actual,
        recipe.gate,
        not learned_from <= set(reigning.trained_on),
        masks,
    )
