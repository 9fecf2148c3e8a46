"""The sections of a recipe that say where observations come from and how they are split."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator

from creche.contract.reading import CsvDialect, Reading
from creche.recipe.base import CategoryValue, Fraction, RecipeSection, Seed

NOT_STATED = "not stated"
MD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
NUMBERED_COLUMN = re.compile(r"column_\d+")  # the name of a column that no header names
# A password in an address that is no environment variable.
PASSWORD = re.compile(r"^[\w+]+://[^/@\s]*:(?!\$)[^/@\s]+@")
DataVersion = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]


class DataSpec(RecipeSection):
    """Where the observations come from.

    A `path` that no digest pins is tracked by DVC; anything else, a file, a folder or a URL, is
    pinned by its `md5`. A URL of a tar archive names the `files` that are wanted out of it, which
    may also lie in `folder` already. The rows of a query are read once for each run, and kept under
    `snapshots/`.
    """

    # A file, or a folder of images or of tables with the same columns, relative to the project.
    path: str | None = None
    # An http(s) address, which needs `md5`; or with `sql` that of a database, in which `$NAME` is
    # filled in from the environment, as postgresql://$DB_USER:$DB_PASSWORD@host/shop.
    url: str | None = None
    # A query of the database at `url`, whose rows are the table.
    sql: str | None = None
    # The MD5 that the file must have; of a folder that of its files' names and MD5s, with `.dir`.
    md5: DataVersion | None = None
    # Of an archive: name in it, without its folders → MD5.
    files: dict[str, MD5] = Field(default_factory=dict)
    # Where the files of an archive may already be. `$CIFAR10_DIR` and the like are filled in; where
    # the variable is not set, there is no such folder.
    folder: str | None = None
    # The sheet of a workbook that has several; of workbooks to score, too.
    sheet: str | None = None
    # How CSV files are written, where they do not tell themselves; of those to score, too.
    csv: CsvDialect = CsvDialect()
    # The license of the data, for the model card.
    license: str = NOT_STATED
    # How to cite the data, for the model card.
    citation: str = NOT_STATED

    @property
    def reading(self) -> Reading:
        """How the files of the table are read."""
        return Reading(csv=self.csv, sheet=self.sheet)

    @property
    def numbers_columns(self) -> bool:
        """Whether columns are called by their position, for neither files nor recipe name them."""
        return self.csv.header == "none" and not self.csv.names

    def reading_to_score(self, label: str, header: Sequence[str] = ()) -> Reading:
        """Return how files to score are read, which may lack the label.

        Args:
            label: the column that the model predicts.
            header: of the training data; needed where columns are called by their position.
        """
        csv = self.csv
        if self.numbers_columns:
            # A file of one column less would have other columns under these names.
            own_names = [name for name in header if NUMBERED_COLUMN.fullmatch(name)]
            csv = replace(csv, names=tuple(own_names))
        # A header shows whether the label is there.
        may_lack = label if label in csv.names else None
        return Reading(csv=csv, sheet=self.sheet, label=may_lack)

    @model_validator(mode="after")
    def has_one_source(self) -> "DataSpec":
        if self.sql is not None:
            self._check_query()
            return self
        if self.path is not None and not self.path.strip():
            raise ValueError("path is empty: name a file or folder")
        if (self.path is None) == (self.url is None):
            raise ValueError("both or neither of path and url are stated: state one of them")
        if self.url and not self.md5:
            raise ValueError(
                "url is stated without the md5 that shows whether its file changed: add md5"
            )
        is_archive = bool(self.url and self.files)
        if (self.files or self.folder) and not is_archive:
            raise ValueError(
                "files and folder go together with the url of an archive: state url and files, or "
                "remove both"
            )
        return self

    def _check_query(self) -> None:
        if self.url is None:
            raise ValueError(
                "sql is stated without the url of its database: add url, as "
                "postgresql://$DB_USER:$DB_PASSWORD@host/shop or sqlite:///shop.db"
            )
        stated = self.model_fields_set & {"path", "md5", "files", "folder", "sheet", "csv"}
        if stated:
            raise ValueError(
                f"sql and {sorted(stated)[0]} are both stated, and the rows of a query come from "
                "its database: remove one of them"
            )
        if not self.sql or not self.sql.strip():
            raise ValueError("sql is empty: state a query")
        if PASSWORD.match(self.url):
            raise ValueError(
                "url has a password in it: put it into an environment variable, and write its name "
                "there, as $DB_PASSWORD"
            )


class Quarantine(RecipeSection):
    """How many rows may be quarantined before the data as a whole are refused."""

    # Fraction of the training rows, 0..1.
    max_share: Fraction = 0.05
    # Fraction of the rows of a batch that is scored, 0..1.
    batch_max_share: Fraction = 0.5


# A period of dates, in UTC; a week begins on Monday.
PERIODS = ("day", "week", "month", "quarter", "year")


class Split(RecipeSection):
    """Which rows are for training, validation and holdout: by a hash of their group, or by time.

    By hash, `validation` and `holdout` are fractions of the groups, and training takes the rest. A
    holdout that was set apart beforehand is named by a column and its value; the rest is then
    shared out. By time, the newest periods are the holdout, those before them validation, and all
    before those training.
    """

    # Fraction of the groups that decides when to stop and which epoch to keep, 0..1.
    validation: Fraction = 0.2
    # Fraction of the groups that the model is judged on, 0..1; or column and value, as
    # `part: test`.
    holdout: Fraction | Annotated[dict[str, CategoryValue], Field(min_length=1, max_length=1)] = 0.2
    # Salts the hash that assigns a group to a split.
    seed: Seed = 0
    # Cross-validation for a small table: every group is in one of so many folds, each row is judged
    # by a model that was trained without its fold, and the file that ships is trained on all rows.
    # `validation` is then a fraction of the groups of the other folds, and there is no `holdout`.
    folds: Annotated[int, Field(ge=2, le=50)] | None = None
    # The column of dates or numbers that splits forward in time, in place of `validation` and
    # `holdout`.
    time: str | None = None
    # With `time`: day, week, month, quarter or year; of a number, the width of a period in its
    # unit.
    period: str | float | None = None
    # With `time`: how many of the newest periods the model is judged on.
    holdout_periods: Annotated[int, Field(ge=1)] = 1
    # With `time`: how many periods before them decide when to stop and which epoch to keep.
    validation_periods: Annotated[int, Field(ge=0)] = 1

    @property
    def designated_holdout(self) -> tuple[str, str] | None:
        """Column and value of a holdout that was set apart."""
        if isinstance(self.holdout, dict):
            return next(iter(self.holdout.items()))
        return None

    @property
    def holdout_fraction(self) -> float:
        """Fraction of the groups that the hash assigns to the holdout."""
        return 0.0 if isinstance(self.holdout, dict) else self.holdout

    @property
    def has_validation(self) -> bool:
        """Whether some rows are for validation."""
        return self.validation_periods > 0 if self.time else self.validation > 0

    @property
    def validation_key(self) -> str:
        """The key that says how many rows are for validation."""
        return "split.validation_periods" if self.time else "split.validation"

    @model_validator(mode="after")
    def leaves_training_rows(self) -> "Split":
        if self.holdout == 0 or self.validation + self.holdout_fraction >= 1:
            raise ValueError(
                f"holdout must be above 0, and validation + holdout below 1: {self.validation:g} + "
                f"{self.holdout_fraction:g} leaves no rows for one of the splits"
            )
        return self

    @model_validator(mode="after")
    def is_by_hash_or_by_time(self) -> "Split":
        by_time = self._stated("period", "holdout_periods", "validation_periods")
        if self.time is None and by_time:
            raise ValueError(
                f"{by_time[0]} goes with time: state the column of dates as time, or remove it"
            )
        if self.folds is not None and (self.time is not None or self._stated("holdout")):
            other = "time" if self.time is not None else "holdout"
            raise ValueError(f"folds and {other} exclude each other: remove one of them")
        by_hash = self._stated("validation", "holdout")
        if self.time is not None and by_hash:
            raise ValueError(
                f"time and {by_hash[0]} exclude each other: state holdout_periods and "
                f"validation_periods in place of {by_hash[0]}"
            )
        return self

    def _stated(self, *names: str) -> list[str]:
        """Return those of some keys that are not as they are by default.

        A recipe that was written as JSON states all of them.
        """
        fields = type(self).model_fields
        return [name for name in names if getattr(self, name) != fields[name].default]
