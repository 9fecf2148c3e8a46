"""The checks of a recipe that concern more than one key."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from creche.contract import UNKNOWN, Column, normalize_name
from creche.contract.outputs import OUTPUT_NAMES
from creche.recipe.data import PERIODS
from creche.recipe.encodings import DateParts, Embedding, Encoding, OneHot, Scale
from creche.recipe.gate import MIRROR, SAME_LABEL, BehaviorTest, Change, LinearPerturbation
from creche.recipe.metric_checks import check_metrics

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe

DATE = "date"  # the kind of a column of dates
# Columns that the steps add to the accepted rows.
RESERVED_COLUMNS = ("row", "split", "group_hash")
# The same where the recipe asks for cross-validation.
FOLD_COLUMNS = ("fold", "held_out")


def check_columns(recipe: "Recipe") -> None:
    """Check the columns of a recipe, and that it names no others.

    Raises:
        ValueError: a key of a column is wrong, or another key names one that there is not.
    """
    _check_column_names(recipe)
    if recipe.has_patterns:
        _check_label_is_stated(recipe)
        return
    _check_references(recipe)
    _check_label(recipe)


def check_recipe(recipe: "Recipe") -> None:
    """Check that the sections of a recipe fit together, whose columns are checked.

    Raises:
        ValueError: they do not; the message begins with the key.
    """
    _check_required(recipe)
    for name, encoding in recipe.features.items():
        _check_encoding(name, recipe.columns[name], encoding)
    _check_images(recipe)
    _check_designated_holdout(recipe)
    _check_time_split(recipe)
    _check_slices(recipe)
    for index, test in enumerate(recipe.gate.behavior):
        _check_behavior_test(f"gate.behavior.{index}", test, recipe)
    _check_validation_part(recipe)
    check_metrics(recipe)
    _check_rules(recipe)
    _check_table(recipe)


def _check_column_names(recipe: "Recipe") -> None:
    owners: dict[str, str] = {}  # name as files may have it, normalized → column
    for name, column in recipe.columns.items():
        # An input and an output of the graph cannot have one name.
        is_output_name = name in recipe.features and name in OUTPUT_NAMES
        is_reserved = name in RESERVED_COLUMNS
        if recipe.split.folds is not None:
            is_reserved = is_reserved or name in FOLD_COLUMNS
        if is_reserved or is_output_name:
            raise ValueError(
                f"columns.{name}: creche adds a column of the name '{name}': choose another name, "
                f"and list '{name}' under its aliases"
            )
        column.type.check(name, column)
        if "*" in name:
            # A pattern: its columns are known once the data are.
            continue
        for accepted_name in column.accepted_names(name):
            normalized = normalize_name(accepted_name)
            if not normalized:
                raise ValueError(
                    f"columns.{name}: the name '{accepted_name}' has neither letter nor digit: "
                    "choose another one"
                )
            owner = owners.setdefault(normalized, name)
            if owner != name:
                raise ValueError(
                    f"columns.{name}: '{accepted_name}' is a name of column {owner} too: remove it "
                    "from one of them"
                )


def _check_references(recipe: "Recipe") -> None:
    """Check that every column that the recipe uses is under `columns`."""
    references = {
        "label": (recipe.label,),
        "features": tuple(recipe.features),
        "group": recipe.group,
        "unique": recipe.unique,
        "split.time": (recipe.split.time,) if recipe.split.time else (),
    }
    for key, names in references.items():
        for name in names:
            if name not in recipe.columns:
                close = get_close_matches(name, recipe.columns, 1)
                remedy = f"did you mean '{close[0]}'?" if close else "add it there"
                raise ValueError(f"{key}: '{name}' is not under columns: {remedy}")


def _check_label_is_stated(recipe: "Recipe") -> None:
    if recipe.label not in recipe.columns:
        close = get_close_matches(recipe.label, recipe.columns, 1)
        remedy = f"did you mean '{close[0]}'?" if close else "add it there by its name"
        raise ValueError(f"label: '{recipe.label}' is not under columns: {remedy}")


def _check_label(recipe: "Recipe") -> None:
    label = recipe.label
    if label in recipe.features:
        raise ValueError(
            f"features: '{label}' is the label, which the model predicts: remove it from features"
        )
    column = recipe.columns[label]
    if column.kind == "number":
        raise ValueError(
            f"columns.{label}: the label is a number, and a classifier predicts one of some "
            "classes: where it has few values, make it a category, and list them under values; "
            f"else divide it into classes, as `{label}: {{kind: bins, edges: [10, 20]}}`, of which "
            "the second is from 10 to below 20"
        )
    if not column.allowed_values:
        raise ValueError(
            f"columns.{label}: {_label_problem(column)}, and a classifier predicts one of some "
            "classes: make it a category, and list its classes under values"
        )
    key = f"columns.{label}.values"
    classes = recipe.classes
    if len(classes) < 2:
        raise ValueError(f"{key}: {', '.join(classes)}: list two classes at least")
    if UNKNOWN in classes:
        raise ValueError(
            f"{key}: '{UNKNOWN}' is what a model predicts outside its classes: rename the class"
        )


def _label_problem(column: Column) -> str:
    if column.kind == "category":
        return "the label is a category without a list of values"
    return f"the label is a {column.kind}"


def _check_required(recipe: "Recipe") -> None:
    """Check that no column is optional that a model is trained on, and none may be missing that
    decides a row's label or split.
    """
    for name in (recipe.label, *recipe.features):
        if recipe.columns[name].required is False:
            raise ValueError(
                f"columns.{name}.required: is false, and the model takes this column: remove this "
                "key, with missing: allow where its values may be missing, or remove the column "
                "from features"
            )
    for key, names in (("label", (recipe.label,)), ("group", recipe.group)):
        for name in names:
            if recipe.columns[name].missing == "allow":
                raise ValueError(
                    f"columns.{name}.missing: is allow, and the column is the {key}: remove this "
                    "key, so that rows without a value are quarantined"
                )


def _check_encoding(name: str, column: Column, encoding: Encoding) -> None:
    expected = "number"
    is_of_category = encoding in ("one-hot", "ordinal", "thermometer")
    if is_of_category or isinstance(encoding, OneHot | Embedding):
        expected = "category"
    if isinstance(encoding, Scale) or (column.type.is_image and encoding == "standardize"):
        expected = "image"
    if encoding == "date-parts" or isinstance(encoding, DateParts):
        expected = "date"
    if column.type.encodes_as != expected:
        raise ValueError(
            f"features.{name}: is {_as_written(encoding)}, and the kind of the column is "
            f"{column.kind}: {column.type.encodings}"
        )
    if encoding == "thermometer" and not column.levels:
        raise ValueError(
            f"features.{name}: is thermometer, and columns.{name} states no order: add ordered: "
            "true there, with its values from low to high, or use one-hot"
        )


def _as_written(encoding: Encoding) -> str:
    """Return an encoding as a recipe states it."""
    return encoding if isinstance(encoding, str) else str(encoding.model_dump())


def _check_images(recipe: "Recipe") -> None:
    images = recipe.image_features
    if images and len(recipe.features) > 1:
        raise ValueError(
            f"features: '{images[0]}' is an image, and there are other features: keep the image "
            "alone, or the other columns"
        )
    if images and recipe.network.kind != "cnn":
        raise ValueError(
            f"network.kind: is {recipe.network.kind}, and the feature '{images[0]}' is an image: "
            "use cnn"
        )
    if recipe.network.kind == "cnn" and not images:
        raise ValueError("network.kind: is cnn, and no feature is an image: use mlp")
    if recipe.training.augment.is_enabled and not images:
        raise ValueError(
            "training.augment: only images are augmented, and no feature is one: remove this key"
        )
    for name in images:
        height, width, _ = recipe.columns[name].shape
        shortest = min(height, width)
        recipe.network.feature_map_size(height, width)
        if recipe.network.whiten and recipe.network.convolutions[0].size > shortest:
            raise ValueError(
                f"network.convolutions.0.size: is {recipe.network.convolutions[0].size}, and an "
                f"image to whiten has {shortest} pixels: use a smaller size, or whiten: false"
            )
        shift = recipe.training.augment.shift
        if shift >= shortest:
            raise ValueError(
                f"training.augment.shift: is {shift}, and columns.{name} has {shortest} pixels: "
                "use a smaller shift"
            )


def _check_designated_holdout(recipe: "Recipe") -> None:
    designated = recipe.split.designated_holdout
    if designated is None:
        return
    name, value = designated
    _check_is_discrete("split.holdout", name, recipe)
    values = recipe.columns[name].allowed_values
    if values and value not in values:
        raise ValueError(
            f"split.holdout.{name}: '{value}' is not among the values of columns.{name}: use one "
            f"of {', '.join(values)}"
        )


def _check_time_split(recipe: "Recipe") -> None:
    """Check that the column that splits forward in time can be divided into periods."""
    name, period = recipe.split.time, recipe.split.period
    if name is None:
        return
    column = recipe.columns[name]
    if column.missing == "allow":
        raise ValueError(
            f"columns.{name}.missing: is allow, and split.time places each row by this column: use "
            "refuse"
        )
    named = f"use one of {', '.join(PERIODS)}"
    if column.kind == "number":
        if isinstance(period, str) or period is None or period <= 0:
            unit = f" in {column.unit}" if column.unit else ""
            raise ValueError(
                f"split.period: is {_stated(period)}, and split.time {name} is a number: state the "
                f"width of a period{unit}, above 0"
            )
    elif column.kind != DATE:
        raise ValueError(
            f"split.time: '{name}' is a {column.kind}: use a column of dates or numbers"
        )
    elif period not in PERIODS:
        raise ValueError(
            f"split.period: is {_stated(period)}, and split.time {name} is a date: {named}"
        )


def _stated(value: str | float | None) -> str:
    if value is None:
        return "not stated"
    return value if isinstance(value, str) else f"{value:g}"


def _check_slices(recipe: "Recipe") -> None:
    for name in recipe.gate.slices:
        _check_is_discrete("gate.slices", name, recipe)


def _check_is_discrete(key: str, name: str, recipe: "Recipe") -> None:
    discrete = [other for other, column in recipe.columns.items() if column.type.is_discrete]
    if name not in discrete:
        raise ValueError(
            f"{key}: '{name}' is not a category or text under columns: use one of "
            f"{', '.join(discrete)}"
        )


def _check_behavior_test(key: str, test: BehaviorTest, recipe: "Recipe") -> None:
    for name in test.where:
        _check_is_discrete(f"{key}.where", name, recipe)
    for name, change in test.change.items():
        if name not in recipe.features:
            raise ValueError(
                f"{key}.change: '{name}' is not under features: use one of "
                f"{', '.join(recipe.features)}"
            )
        column = recipe.columns[name]
        if not _is_change_of(column, change):
            raise ValueError(
                f"{key}.change.{name}: is {change!r}, and the kind of the column is {column.kind}: "
                f"{column.type.changes}"
            )
    allowed = (SAME_LABEL, UNKNOWN, *recipe.classes)
    if test.expect not in allowed:
        raise ValueError(f"{key}.expect: is '{test.expect}': use one of {', '.join(allowed)}")


def _is_change_of(column: Column, change: Change) -> bool:
    if column.type.is_image:
        return change == MIRROR or isinstance(change, LinearPerturbation)
    if change is None:
        return True
    if column.kind == DATE:
        return isinstance(change, LinearPerturbation)
    # A category or text gets another value; a number gets one too, or is perturbed.
    return isinstance(change, str) == column.type.is_discrete


def _check_validation_part(recipe: "Recipe") -> None:
    """Check that nothing is chosen by the holdout."""
    if recipe.split.has_validation:
        return
    key = recipe.split.validation_key
    reason = f"and {key} is 0, so only the holdout could choose: raise {key}"
    if recipe.training.checkpoint_selection == "best":
        raise ValueError(f"training.checkpoint_selection: is best, {reason}, or use last")
    if recipe.training.patience:
        raise ValueError(
            f"training.patience: is {recipe.training.patience}, {reason}, or remove patience"
        )


def _check_rules(recipe: "Recipe") -> None:
    """Check that every rule across columns can be read, and has a reason of its own."""
    reasons: set[str] = set()
    for index, rule in enumerate(recipe.row_rules):
        if rule.reason in reasons:
            raise ValueError(
                f"rules.{index}: '{rule.reason}' is the reason of another rule too: state another "
                "one, or remove the rule"
            )
        reasons.add(rule.reason)


def _check_table(recipe: "Recipe") -> None:
    """Check that the columns of the table's checks are there and of the right kind."""
    fresh = recipe.table.fresh
    dates = [name for name, column in recipe.columns.items() if column.kind == DATE]
    if fresh is not None and fresh.column not in dates:
        remedy = f"use one of {', '.join(dates)}" if dates else "add a column of kind date"
        raise ValueError(f"table.fresh.column: '{fresh.column}' is no date under columns: {remedy}")
    for name in recipe.table.reference:
        key = f"table.reference.{name}"
        if name not in recipe.columns:
            close = get_close_matches(name, recipe.columns, 1)
            remedy = f"did you mean '{close[0]}'?" if close else "add it there"
            raise ValueError(f"{key}: '{name}' is not under columns: {remedy}")
        if recipe.columns[name].type.is_image:
            raise ValueError(f"{key}: '{name}' is an image, which no table lists: remove this key")
