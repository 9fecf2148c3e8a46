"""How the files of a table are read, where the files themselves do not tell."""

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from creche.contract.cells import normalize_name
from creche.contract.json_types import check_json


@dataclass(frozen=True)
class CsvDialect:
    """How CSV files are written. What is not stated is found out from each file.

    Lines before the table, comment lines, the header and blank lines are no rows and have no row
    number.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "coerce_numbers_to_str": True}

    # Whether the first line names the columns; `none`: it is a row.
    header: Literal["first-line", "none"] = "first-line"
    # Names of the columns in their order, in place of those of the header.
    names: tuple[str, ...] = ()
    skip_lines: int = 0  # lines before the header, or before the first row where there is none
    comment: str | None = None  # lines that begin with it are left out
    encoding: str | None = None  # as Python names it: latin-1, cp1252, utf-16; by default UTF-8
    separator: str | None = None  # the character between two cells
    quote: str = '"'  # the character around a cell that has a separator or a line break in it

    def __post_init__(self) -> None:
        self._check_names()
        if self.skip_lines < 0:
            raise ValueError(f"skip_lines is {self.skip_lines}: state 0 or more lines")
        if self.comment is not None and not self.comment.strip():
            raise ValueError("comment is empty: state the text that comment lines begin with")
        for key, character in (("separator", self.separator), ("quote", self.quote)):
            is_line_break = character in ("\r", "\n")
            if character is not None and (len(character.encode()) != 1 or is_line_break):
                raise ValueError(f"{key} is {character!r}: state one ASCII character")
        if self.separator == self.quote:
            raise ValueError(f"separator and quote are both {self.quote}: state two characters")
        if self.encoding is not None:
            _check_encoding(self.encoding)

    def _check_names(self) -> None:
        owners: dict[str, str] = {}
        for name in self.names:
            normalized = normalize_name(name)
            if not normalized:
                raise ValueError(
                    f"names: '{name}' has neither letter nor digit: state another name"
                )
            if normalized in owners:
                raise ValueError(
                    f"names: '{owners[normalized]}' and '{name}' are one name, since case and "
                    "punctuation do not count: rename one of them"
                )
            owners[normalized] = name

    @property
    def text_encoding(self) -> str | None:
        """The encoding of a file without a byte order mark, where it is not UTF-8."""
        if self.encoding is None:
            return None
        name = codecs.lookup(self.encoding).name
        return None if name in ("utf-8", "utf-8-sig") else name


def _check_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, UnicodeError):
        raise ValueError(
            f"encoding: '{encoding}' is no encoding of text: state one as Python names it, such as "
            "latin-1, cp1252 or utf-16"
        ) from None


@dataclass(frozen=True)
class Reading:
    """How the files of a table are read: by training, and by scoring with its model."""

    csv: CsvDialect = CsvDialect()
    sheet: str | None = None  # of a workbook
    # The column that a file to score may lack where no header names its columns.
    label: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what is stated, as JSON."""
        stated: dict[str, Any] = {}
        dialect = dialect_to_dict(self.csv)
        if dialect:
            stated["csv"] = dialect
        if self.sheet is not None:
            stated["sheet"] = self.sheet
        if self.label is not None:
            stated["label"] = self.label
        return stated

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> "Reading":
        """Return what `to_dict` wrote.

        Raises:
            ValueError: it is of another shape, or a value is not allowed.
        """
        check_json(stated, Reading, "it")
        return cls(
            csv=dialect_from_dict(stated.get("csv", {})),
            sheet=stated.get("sheet"),
            label=stated.get("label"),
        )


DEFAULT_READING = Reading()


def dialect_to_dict(dialect: CsvDialect) -> dict[str, Any]:
    """Return what a dialect states, as JSON."""
    stated = {}
    for key, value in asdict(dialect).items():
        if value != getattr(CsvDialect(), key):
            stated[key] = list(value) if isinstance(value, tuple) else value
    return stated


def dialect_from_dict(stated: Mapping[str, Any]) -> CsvDialect:
    """Return the dialect that these keys state.

    Raises:
        ValueError: a key is unknown, or a value is not allowed.
    """
    check_json(stated, CsvDialect, "csv")
    arguments: dict[str, Any] = {}
    for key, value in stated.items():
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return CsvDialect(**arguments)
