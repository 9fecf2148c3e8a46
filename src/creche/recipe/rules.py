"""The sections of a recipe that state what a row, and the table as a whole, must be like."""

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from creche.recipe.base import Fraction, RecipeSection


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


class RowCount(RecipeSection):
    """How many rows the table has."""

    # Least number of rows.
    min: PositiveInt | None = None
    # Largest fraction of the rows of the last judged run that may be gone, 0..1.
    max_drop: Fraction | None = None


class Freshness(RecipeSection):
    """How old the newest date is, of the rows that are accepted."""

    # A column of kind date.
    column: str
    # Largest number of whole days between the newest date and the time of the run.
    days: Annotated[int, Field(ge=0)]


class Reference(RecipeSection):
    """A table that has every allowed value of a column."""

    # A file of any format, relative to the project; where DVC tracks it, it is pulled.
    file: Annotated[str, Field(min_length=1)]
    # The column of that file.
    column: str


class TableChecks(RecipeSection):
    """What the table as a whole must be like, before a model is trained on it."""

    # How many rows it has.
    rows: RowCount = RowCount()
    # How old its newest date is.
    fresh: Freshness | None = None
    # Column → the table that has all its values; a row with another value is quarantined.
    reference: dict[str, Reference] = Field(default_factory=dict)

    @property
    def reference_files(self) -> list[str]:
        """The files of all references, each once."""
        files = [reference.file for reference in self.reference.values()]
        return list(dict.fromkeys(files))
