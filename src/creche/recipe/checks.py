"""The checks of a recipe that concern more than one key."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from creche.contract import MISSING_VALUES, UNKNOWN, Column, normalize_name
from creche.contract.outputs import OUTPUT_NAMES
from creche.recipe.encodings import Encoding, Scale
from creche.recipe.gate import MIRROR, SAME_LABEL, BehaviorTest, Change, LinearPerturbation

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe

# Columns that the steps add to the accepted rows.
RESERVED_COLUMNS = ("row", "split", "group_hash")


def check_recipe(recipe: "Recipe") -> None:
    """Check that the sections of a recipe fit together.

    Raises:
        ValueError: they do not; the message begins with the key.
    """
    _check_column_names(recipe)
    _check_references(recipe)
    _check_label(recipe)
    for name, encoding in recipe.features.items():
        _check_encoding(name, recipe.columns[name], encoding)
    _check_images(recipe)
    _check_designated_holdout(recipe)
    _check_slices(recipe)
    for index, test in enumerate(recipe.gate.behavior):
        _check_behavior_test(f"gate.behavior.{index}", test, recipe)
    _check_validation_part(recipe)


def _check_column_names(recipe: "Recipe") -> None:
    owners: dict[str, str] = {}  # name as files may have it, normalized → column
    for name, column in recipe.columns.items():
        # An input and an output of the graph cannot have one name.
        is_output_name = name in recipe.features and name in OUTPUT_NAMES
        if name in RESERVED_COLUMNS or is_output_name:
            raise ValueError(
                f"columns.{name}: this name is taken; give the column another, and '{name}' as an "
                "alias"
            )
        column.type.check(name, column)
        for accepted_name in column.accepted_names(name):
            normalized = normalize_name(accepted_name)
            if not normalized:
                raise ValueError(f"columns.{name}: '{accepted_name}' names nothing")
            owner = owners.setdefault(normalized, name)
            if owner != name:
                raise ValueError(f"columns.{name}: '{accepted_name}' names {owner} too")


def _check_references(recipe: "Recipe") -> None:
    """Check that every column that the recipe uses is under `columns`."""
    references = {
        "label": (recipe.label,),
        "features": tuple(recipe.features),
        "group": recipe.group,
        "unique": recipe.unique,
    }
    for key, names in references.items():
        for name in names:
            if name not in recipe.columns:
                close = get_close_matches(name, recipe.columns, 1)
                hint = f": {close[0]}?" if close else ""
                raise ValueError(f"{key}: '{name}' is not under columns{hint}")


def _check_label(recipe: "Recipe") -> None:
    label = recipe.label
    if label in recipe.features:
        raise ValueError(f"features: '{label}' is the label")
    column = recipe.columns[label]
    if column.kind != "category" or not column.values:
        raise ValueError(f"columns.{label}: a label is a category that lists its values")
    classes = recipe.classes
    for name in classes:
        if name != name.strip() or name.lower() in MISSING_VALUES:
            raise ValueError(
                f"columns.{label}.values: two classes at least, each named once: '{name}' is read "
                "as a missing value"
            )
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ValueError(f"columns.{label}.values: two classes at least, each named once")
    if UNKNOWN in classes:
        raise ValueError(
            f"columns.{label}.values: '{UNKNOWN}' is what a model predicts outside its classes"
        )


def _check_encoding(name: str, column: Column, encoding: Encoding) -> None:
    expected = "number"
    if encoding in ("one-hot", "ordinal"):
        expected = "category"
    if isinstance(encoding, Scale) or (column.type.is_image and encoding == "standardize"):
        expected = "image"
    if column.kind != expected:
        raise ValueError(f"features.{name}: a {column.kind} column cannot be encoded '{encoding}'")


def _check_images(recipe: "Recipe") -> None:
    images = recipe.image_features
    if images and len(recipe.features) > 1:
        raise ValueError(
            f"features: the image '{images[0]}' stands alone; a network takes an image or a "
            "table's columns"
        )
    if (recipe.network.kind == "cnn") != bool(images):
        raise ValueError("network.kind: cnn for an image, mlp for a table's columns")
    if recipe.training.augment.is_enabled and not images:
        raise ValueError("training.augment: only images are augmented")
    for name in images:
        height, width, _ = recipe.columns[name].shape
        shortest = min(height, width)
        recipe.network.feature_map_size(height, width)
        if recipe.network.whiten and recipe.network.convolutions[0].size > shortest:
            raise ValueError("network.whiten: the first convolution is larger than the image")
        if recipe.training.augment.shift >= shortest:
            raise ValueError(f"training.augment.shift: columns.{name} has no more pixels than that")


def _check_designated_holdout(recipe: "Recipe") -> None:
    designated = recipe.split.designated_holdout
    if designated is None:
        return
    name, value = designated
    column = recipe.columns.get(name)
    if column is not None and column.type.is_discrete and value in (column.values or (value,)):
        return
    raise ValueError(
        f"split.holdout: '{name}: {value}' is no category under columns with that value"
    )


def _check_slices(recipe: "Recipe") -> None:
    for name in recipe.gate.slices:
        _check_is_discrete("gate.slices", name, recipe)


def _check_is_discrete(key: str, name: str, recipe: "Recipe") -> None:
    if name not in recipe.columns or not recipe.columns[name].type.is_discrete:
        raise ValueError(f"{key}: '{name}' is not a category or text under columns")


def _check_behavior_test(key: str, test: BehaviorTest, recipe: "Recipe") -> None:
    for name in test.where:
        _check_is_discrete(f"{key}.where", name, recipe)
    for name, change in test.change.items():
        if name not in recipe.features:
            raise ValueError(f"{key}.change: '{name}' is not under features")
        column = recipe.columns[name]
        if not _is_change_of(column, change):
            raise ValueError(f"{key}.change.{name}: not a value of a {column.kind}")
    if test.expect not in (SAME_LABEL, UNKNOWN, *recipe.classes):
        classes = ", ".join(recipe.classes)
        raise ValueError(f"{key}.expect: same, {UNKNOWN}, or one of {classes}")


def _is_change_of(column: Column, change: Change) -> bool:
    if column.type.is_image:
        return change == MIRROR or isinstance(change, LinearPerturbation)
    # A category or text gets another value; a number gets one too, or is perturbed.
    return isinstance(change, str) == column.type.is_discrete


def _check_validation_part(recipe: "Recipe") -> None:
    """Check that nothing is chosen by the holdout."""
    if recipe.split.validation:
        return
    reason = "needs split.validation above 0, since the holdout may choose nothing"
    if recipe.training.checkpoint_selection == "best":
        raise ValueError(f"training: checkpoint_selection: best {reason}")
    if recipe.training.patience:
        raise ValueError(f"training: patience {reason}")
