"""Values of columns that other keys of a recipe name, in the spelling that the columns have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from creche.contract import Column
from creche.recipe.gate import SAME_LABEL, BehaviorTest

if TYPE_CHECKING:
    from creche.recipe.schema import Recipe


def with_canonical_values(recipe: "Recipe") -> dict[str, Any]:
    """Return the sections of a recipe that name values of columns, with canonical values.

    `where: {member: yes}` selects the rows whose value is `true`.

    Raises:
        ValueError: a value is none of its column's type; the message begins with the key.
    """
    columns = recipe.columns
    sections: dict[str, Any] = {}
    designated = recipe.split.designated_holdout
    if designated is not None:
        holdout = _canonical("split.holdout", dict([designated]), columns)
        sections["split"] = recipe.split.model_copy(update={"holdout": holdout})
    if recipe.gate.behavior:
        tests = []
        for index, test in enumerate(recipe.gate.behavior):
            tests.append(_canonical_test(f"gate.behavior.{index}", test, recipe))
        sections["gate"] = recipe.gate.model_copy(update={"behavior": tuple(tests)})
    return sections


def _canonical_test(key: str, test: BehaviorTest, recipe: "Recipe") -> BehaviorTest:
    columns = recipe.columns
    expect = test.expect
    if expect != SAME_LABEL and expect not in recipe.classes:
        label = columns[recipe.label]
        expect = _canonical(f"{key}.expect", {recipe.label: expect}, {recipe.label: label})[
            recipe.label
        ]
    return test.model_copy(
        update={
            "where": _canonical(f"{key}.where", test.where, columns),
            "change": _canonical(f"{key}.change", test.change, columns),
            "expect": expect,
        }
    )


def _canonical(
    key: str, values: Mapping[str, Any], columns: Mapping[str, Column]
) -> dict[str, Any]:
    """Return column → value with each text in the spelling of its column."""
    canonical: dict[str, Any] = {}
    for name, value in values.items():
        canonical[name] = value
        if not isinstance(value, str) or name not in columns:
            continue
        column = columns[name]
        try:
            canonical[name] = column.type.canonical_value(value, column)
        except ValueError as error:
            raise ValueError(f"{key}.{name}: '{value}' is {error}") from None
    return canonical
