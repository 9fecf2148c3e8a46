"""Records of the data steps: pull, validate and preprocess."""

import hashlib
import json
from typing import Literal

from pydantic import Field

from creche.records.base import Record

REFERENCES_MARK = "+"  # between the version of the data and that of the reference tables


class SourceInfo(Record):
    """The observations that a run reads: which file or folder, and which bytes (`source.json`)."""

    format: Literal[1] = 1
    path: str  # below the project where it lies there, else absolute
    # MD5 as DVC states it; of a folder the MD5 of its listing, with `.dir`; of a query a digest of
    # its rows.
    version: str
    bytes: int
    files: dict[str, str] = Field(
        default_factory=dict
    )  # name → MD5 of the files that are read, of an archive or where others lie beside them
    # File → MD5 of the reference tables that the recipe names.
    references: dict[str, str] = Field(default_factory=dict)
    md5: str | None = None  # of the file's bytes, where the version is another digest
    # Names of its columns, where the recipe has patterns for them or they are called by position.
    header: list[str] = Field(default_factory=list)

    @property
    def data_version(self) -> str:
        """The version of the data and of the reference tables: another one trains anew."""
        if not self.references:
            return self.version
        listing = json.dumps(sorted(self.references.items()))
        return f"{self.version}{REFERENCES_MARK}{hashlib.sha256(listing.encode()).hexdigest()[:16]}"


class TableCheck(Record):
    """One check of the table as a whole."""

    name: str  # its key in the recipe
    passed: bool
    message: str  # what the table is like, and what the recipe asks for


class ValidationReport(Record):
    """How many rows of the source keep the contract, and why the others do not
    (`validation.json`).
    """

    format: Literal[1] = 1
    source: str
    rows: int
    accepted: int
    quarantined: int  # with the unlabeled rows
    unlabeled: int = 0  # rows without a label, which training has no use for
    share_quarantined: float  # of the labeled rows, 0..1; the recipe limits it
    reasons: dict[str, int]  # reason → rows, the most frequent first; a row may have several
    renamed: dict[str, str]  # column of the file → column of the contract, and its unit's factor
    ignored: list[str]  # columns that the contract does not name
    classes: dict[str, int]  # accepted rows by label
    table: list[TableCheck] = Field(default_factory=list)  # checks of the table as a whole
    newest: str | None = None  # newest date of the column whose age is checked, ISO, UTC


class ValueRange(Record):
    """The first and the last value of a column, as text."""

    first: str
    last: str


class SplitReport(Record):
    """Rows by split and by class, zeros included."""

    train: dict[str, int]
    validation: dict[str, int]
    holdout: dict[str, int]
    groups: dict[str, int] = Field(default_factory=dict)  # split → groups
    # Of a split forward in time: split → when its rows are from.
    times: dict[str, ValueRange] = Field(default_factory=dict)
    # Of a cross-validation: rows by class of each fold; all rows are for training in the end.
    folds: list[dict[str, int]] = Field(default_factory=list)
    left_out: int = 0  # rows whose group has a newer row in validation or holdout

    def by_split(self) -> dict[str, dict[str, int]]:
        """Return the counts: split → class → rows."""
        return {"train": self.train, "validation": self.validation, "holdout": self.holdout}
