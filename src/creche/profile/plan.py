"""What a recipe will say, as data: columns, features, what is left out, and the settings."""

from dataclasses import dataclass

from creche.profile.counts import CellCounts
from creche.profile.inferred_column import InferredColumn
from creche.profile.label import Label
from creche.profile.relevance import Relevance, SimpleModel
from creche.profile.table_sample import TableSample
from creche.profile.training_settings import GateSettings, TrainingSettings
from creche.records.profile import ColumnRole


@dataclass(frozen=True)
class ProfileOptions:
    """What the user states of a table.

    Attributes:
        label: name of the column that is predicted.
        group: names of the columns whose rows stay together.
        time: name of the column by which the newest rows are the holdout.
        bins: classes of a number, or the edges between them.
        keep: names of columns that are features although they would be left out.
    """

    label: str
    group: tuple[str, ...] = ()
    time: str | None = None
    bins: int | tuple[float, ...] | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProfiledColumn:
    """One column of the table, and what becomes of it.

    Attributes:
        name: in the recipe.
        aliases: that its header needs there.
        counts: over the whole table.
        left_out: why it is no feature; None where it is one, or the label.
        role: of the column.
        relevance: of a feature, or of a column that leaks the label.
        warnings: what a person should check.
    """

    name: str
    inferred: InferredColumn
    counts: CellCounts
    aliases: tuple[str, ...] = ()
    role: ColumnRole = "feature"
    left_out: str | None = None
    relevance: Relevance | None = None
    warnings: tuple[str, ...] = ()

    @property
    def header_name(self) -> str:
        return self.inferred.header_name


@dataclass(frozen=True)
class DateRange:
    """The period of a split forward in time."""

    period: str  # day, week, month, quarter or year
    holdout_periods: int
    validation_periods: int


@dataclass(frozen=True)
class TableProfile:
    """A table, and the recipe that suits it.

    Attributes:
        columns: in the order of the header, the label among them.
        duplicate_rows: rows of the sample that are equal to an earlier one in every column.
        groups: that a split tells apart.
        notes: what a person should know, a sentence each.
    """

    sample: TableSample
    options: ProfileOptions
    label: Label
    columns: tuple[ProfiledColumn, ...]
    training: TrainingSettings
    gate: GateSettings
    simple: SimpleModel | None
    duplicate_rows: int = 0
    groups: int = 0
    group: tuple[str, ...] = ()
    group_reason: str = ""
    time: str | None = None
    date_range: DateRange | None = None
    label_missing: int = 0
    quarantined_share: float = 0.0
    notes: tuple[str, ...] = ()

    def with_role(self, role: ColumnRole) -> list[ProfiledColumn]:
        """Return the columns of a role."""
        return [column for column in self.columns if column.role == role]

    @property
    def features(self) -> list[ProfiledColumn]:
        return self.with_role("feature")

    def class_counts(self) -> dict[str, int]:
        """Return the rows of each class: of the whole table, or in the sample where a class is a
        range of numbers.
        """
        if self.label.edges or self.label.is_none_a_class:
            counts = self.label.counts().tolist()
            return dict(zip(self.label.classes, counts, strict=True))
        by_value = self.label_column.counts.by_value
        return {name: by_value.get(name, 0) for name in self.label.classes}

    @property
    def label_column(self) -> ProfiledColumn:
        return self.with_role("label")[0]
