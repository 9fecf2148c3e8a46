"""What `creche init` finds in a table."""

from typing import Literal

from pydantic import Field

from creche.records.base import Record

ColumnRole = Literal["feature", "label", "group", "time", "left out"]


class ValueCount(Record):
    """A value of a column, or a range of its numbers, with the labels of its rows."""

    value: str
    rows: int
    label_shares: list[float] = Field(default_factory=list)  # of each class, 0..1


class ProfiledColumnReport(Record):
    """One column of a table."""

    name: str  # in the recipe
    header: str  # in the file
    kind: str
    role: ColumnRole
    left_out: str | None = None  # why it is no feature
    encoding: str = ""  # of a feature, as the recipe states it
    missing: int  # rows without a value
    missing_share: float  # 0..1
    not_of_kind: int = 0  # rows whose cell is of another kind
    smallest: str = ""  # of a number or date
    largest: str = ""
    distinct: int  # values, in the sample
    removed_errors: float | None = None  # share of the errors that it removes by itself, 0..1
    histogram: list[ValueCount] = Field(default_factory=list)  # in the sample
    warnings: list[str] = Field(default_factory=list)


class CorrelatedColumns(Record):
    """Two columns of numbers and how they go together."""

    first: str
    second: str
    correlation: float  # -1..1, of the sample


class TableReport(Record):
    """A table, the recipe that was written for it, and why it says what it says
    (`profile.json`).
    """

    format: Literal[1] = 1
    recipe: str
    recipe_file: str
    table: str
    rows: int
    sample_rows: int  # from which kinds, histograms and correlations are
    label: str
    classes: dict[str, int]  # rows by class; of bins, in the sample
    columns: list[ProfiledColumnReport]
    correlations: list[CorrelatedColumns] = Field(default_factory=list)
    simple_accuracy: float | None = None  # of logistic regression in cross-validation, 0..1
    constant_accuracy: float  # of always predicting the most frequent class, 0..1
    least_accuracy: float  # that the gate asks for, 0..1
    notes: list[str] = Field(default_factory=list)
    page: str = ""  # the profile as HTML
    next_commands: list[str] = Field(default_factory=list)
