"""The sections of a recipe that state what a row, and the table as a whole, must be like."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from creche.recipe.base import RecipeSection


class RowRuleSpec(RecipeSection):
    """A rule across the columns of a row, where its expression alone does not say all.

    A row is refused where `when` is true and `check` is false. Where a value is missing that one of
    them needs, the row keeps the rule.
    """

    # An expression that holds in every row.
    check: str
    # An expression: only the rows where it is true are checked.
    when: str | None = None
    # Why a row is refused, in the quarantine; by default the rule as it is written.
    reason: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def expression_is_the_check(cls, stated: Any) -> Any:
        return {"check": stated} if isinstance(stated, str) else stated
