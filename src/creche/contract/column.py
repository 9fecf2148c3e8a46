"""One column of a table, as a recipe states it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from creche.contract.cells import MISSING_VALUES, normalize_name, spell_text
from creche.contract.number_format import PLAIN_FORMAT, NumberFormat

if TYPE_CHECKING:
    from creche.contract.column_types import ColumnType


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `min` and `max` are inclusive and in `unit`. `values` closes a category; they are kept in their
    canonical spelling. `missing_values` are spellings of a missing value, in place of the usual
    ones; an empty cell is missing always. `required` unset means: required exactly where the recipe
    uses the column (as label, feature or group). `aliases` are further names that files give it,
    `units` further units that files measure it in, each with how many of `unit` it is. An image has
    `width` and `height` in pixels and 1 or 3 `channels`; one of another size is refused, or with
    `resize` scaled until it covers them and cropped to its center.

    Where `missing` is `allow`, a required column must be there, and its values may be missing.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "coerce_numbers_to_str": True}

    # What its cells hold.
    kind: Literal["number", "category", "boolean", "bins", "date", "text", "image"]
    unit: str | None = None  # of a number
    min: float | None = None  # smallest allowed number, in `unit`
    max: float | None = None  # largest allowed number, in `unit`
    values: tuple[str, ...] | None = None  # the allowed values of a category
    # Whether the column must be there, with a value in each row unless `missing` is `allow`; not
    # stated: where the recipe uses it.
    required: bool | None = None
    aliases: tuple[str, ...] = ()  # further names that files give it
    units: Mapping[str, float] = field(default_factory=dict)  # further unit → how many of `unit`
    width: int | None = None  # of an image, pixels
    height: int | None = None  # of an image, pixels
    channels: Literal[1, 3] | None = None  # of an image
    resize: bool | None = None  # whether an image of another size is scaled
    # Spellings of a missing value; not stated: NA, null, None and the like.
    missing_values: tuple[str, ...] | None = None
    # What separates whole and fraction of the numbers in files of text; found out where not stated.
    decimal_mark: Literal[".", ","] | None = None
    # Whether a row with a missing value is refused, or the value is one that the model takes.
    missing: Literal["refuse", "allow"] = "refuse"
    # What a category that training has not shown is: a row that is predicted `unknown`, or `other`,
    # which is known and stands for the rare values of training.
    unseen: Literal["unknown", "other"] = "unknown"
    # Whether the values of a category are listed in their order, from low to high.
    ordered: bool = False
    # What groups the digits of a number, as the comma of `1,234.5`.
    thousands: Literal[",", ".", " ", "'"] | None = None
    # Signs before or after a number that are no part of it, as `$` and `%`: `12 %` is 12.
    symbols: tuple[str, ...] = ()
    # Of a category: whether upper and lower case, and repeated spaces, make no difference.
    normalize: tuple[Literal["case", "spaces"], ...] = ()
    # Spellings of a boolean's `true`, in any case; not stated: true, t, yes, y, on and 1.
    true_values: tuple[str, ...] | None = None
    # Spellings of a boolean's `false`, in any case; not stated: false, f, no, n, off and 0.
    false_values: tuple[str, ...] | None = None
    # Of bins: where one class ends and the next one begins, which includes the edge; in `unit`.
    edges: tuple[float, ...] = ()
    # How dates are written, as strptime has it: `%d.%m.%Y`; `iso` is the ISO form. Not stated: iso.
    formats: tuple[str, ...] = ()
    # Of dates without a zone, as `Europe/Berlin`; not stated: UTC.
    time_zone: str | None = None
    # The first date or time that is allowed, in the ISO form.
    earliest: str | None = None
    # The last one that is allowed; a date includes its whole day.
    latest: str | None = None

    def __post_init__(self) -> None:
        if self.values is not None:
            spelled = tuple(spell_text(value) for value in self.values)
            object.__setattr__(self, "values", spelled)

    @property
    def type(self) -> "ColumnType":
        """The type of the column, which reads and checks its cells."""
        from creche.contract.column_types import COLUMN_TYPES

        return COLUMN_TYPES[self.kind]

    @property
    def allowed_values(self) -> tuple[str, ...] | None:
        """The values of a column that has a closed list of them, in its order; None: it has not."""
        return self.type.allowed_values(self)

    @property
    def levels(self) -> tuple[str, ...] | None:
        """The values from low to high, where they have an order: of a category that is `ordered`,
        of bins and of a boolean.
        """
        if self.kind == "category" and not self.ordered:
            return None
        return self.allowed_values

    @property
    def missing_spellings(self) -> frozenset[str]:
        """The spellings of a missing value, in lower case and without surrounding spaces."""
        if self.missing_values is None:
            return MISSING_VALUES
        return frozenset({"", *(spelling.strip().lower() for spelling in self.missing_values)})

    @property
    def stated_decimal_mark(self) -> str | None:
        """The decimal mark that the column states, or that its separator of thousands leaves."""
        if self.decimal_mark is None and self.thousands in (",", "."):
            return "." if self.thousands == "," else ","
        return self.decimal_mark

    @property
    def number_format(self) -> NumberFormat:
        """How its numbers are written, beside their decimal mark."""
        if self.thousands is None and not self.symbols:
            return PLAIN_FORMAT
        return NumberFormat(self.thousands, self.symbols)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        assert self.height is not None
        assert self.width is not None
        assert self.channels is not None
        return self.height, self.width, self.channels

    def model_limits(self) -> tuple[float, float] | None:
        """Return the smallest and the largest number that a model takes, as float32; None where
        the column is no number.

        A model compares in float32. Rounding keeps the order, so that whatever the contract
        accepts lies within the rounded limits too.
        """
        return self.type.model_limits(self)

    def accepted_names(self, canonical_name: str) -> dict[str, float]:
        """Return every name that files may use for the column, with the factor for its numbers.

        A further unit takes the place of the unit at a name's end, or follows the name: with
        `units: {kg: 1000}`, `body_mass_g` and `BodyMass` are `body_mass_kg` and `BodyMass kg` too.
        """
        own_names = (canonical_name, *self.aliases)
        factors = dict.fromkeys(own_names, 1.0)
        for name in own_names:
            whole_name = normalize_name(name)
            stem = whole_name.removesuffix(normalize_name(self.unit or ""))
            for unit, factor in self.units.items():
                # The letters of the unit may be the end of a word, as m is of "arm".
                factors[f"{stem} {unit}"] = factor
                factors[f"{whole_name} {unit}"] = factor
        return factors
