"""Whether a model can be judged on the holdout of a recipe: the same label, columns and split, and
no holdout row among its training rows.
"""

import numpy as np
import pyarrow as pa

from creche.data.row_keys import ROW_KEY_FORMAT
from creche.errors import ModelError, listed
from creche.gate import NotComparable
from creche.model.artifact import UNREGISTERED, Model
from creche.recipe import Recipe
from creche.registry import ModelVersion


def check_comparable(
    version: ModelVersion, holdout: pa.Table, recipe: Recipe
) -> NotComparable | None:
    """Return why a model cannot be judged on this holdout; None where it can.

    Args:
        version: the model, with the groups that it was trained on.
        holdout: the holdout rows of the recipe.
        recipe: that the model is judged under.
    """
    name = f"version {version.version}"
    if version.version == UNREGISTERED:
        name = version.path.name
    try:
        model = Model(version.path, version.digest)
    except ModelError as error:
        return NotComparable(f"{name} cannot be read ({error})")
    reason = (
        _missing_column(name, model, holdout)
        or _other_label(name, model, recipe)
        or _other_column_type(name, model, recipe)
        or _missing_values(name, model, holdout)
        or _other_split(name, version, recipe)
        or _trained_on_holdout(name, version, holdout)
    )
    return NotComparable(reason) if reason else None


def check_comparable_by_folds(version: ModelVersion, recipe: Recipe) -> NotComparable | None:
    """Return why the out-of-fold predictions of a model's run cannot be compared with those of
    another run of the recipe; None where they can.
    """
    name = f"version {version.version}"
    try:
        model = Model(version.path, version.digest)
    except ModelError as error:
        return NotComparable(f"{name} cannot be read ({error})")
    reason = _other_label(name, model, recipe) or _other_split(name, version, recipe)
    return NotComparable(reason) if reason else None


def _missing_column(name: str, model: Model, holdout: pa.Table) -> str | None:
    for column_name in model.contract.columns:
        if column_name not in holdout.column_names:
            return f"{name} needs column {column_name}, which this recipe no longer has"
    return None


def _other_label(name: str, model: Model, recipe: Recipe) -> str | None:
    if (model.label, model.classes) == (recipe.label, recipe.classes):
        return None
    classes = listed(model.classes)
    return f"{name} predicts {model.label} as {classes}, which is not what this recipe asks"


def _other_column_type(name: str, model: Model, recipe: Recipe) -> str | None:
    for column_name, column in model.contract.columns.items():
        recipe_column = recipe.columns[column_name]
        if (column.kind, column.unit) != (recipe_column.kind, recipe_column.unit):
            unit = f" in {column.unit}" if column.unit else ""
            return (
                f"{name} takes {column_name} as a {column.kind}{unit}, which this recipe does not"
            )
        if column.type.is_image and column.shape != recipe_column.shape:
            return f"{name} takes {column_name} in another size, which this recipe does not"
    return None


def _missing_values(name: str, model: Model, holdout: pa.Table) -> str | None:
    for column_name, column in model.contract.columns.items():
        null_count = holdout[column_name].null_count
        if null_count and column.missing == "refuse":
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
    trained_on = np.array(version.trained_on, np.uint64)
    rows = int(np.isin(holdout["group_hash"].to_numpy(), trained_on).sum())
    if not rows:
        return None
    return f"{name} was trained on {rows} of the {holdout.num_rows} holdout rows"
