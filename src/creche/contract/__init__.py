"""The contract: what a column is called, what it holds, and which values are refused.

Stated once in the recipe, carried inside the model file, and executed three ways: by Great Expectations where the
training data are validated, by Arrow masks where batches are scored, by `row_violations` for one row. Tests hold the three
to the same rows and reasons. Needs nothing beyond the standard library, so that `creche predict` starts at once.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, NamedTuple

from creche.errors import ContractError

# How tables of the wild spell "no value"; compared stripped and in lower case.
MISSING_VALUES = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "."})
FLOAT32_MAX = 3.4028234663852886e38  # what float32, in which models compute, can hold
NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?", re.ASCII | re.IGNORECASE
)

UNKNOWN = "unknown"  # what a model answers outside its classes
NOT_A_NUMBER = "not a number"
NOT_FINITE = "not finite"
BLANK = "one color all over"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `min` and `max` are inclusive and in `unit`. `values` closes a category. `required` unset means: required exactly
    where the recipe uses the column (as label, feature or group). `aliases` are further names that files give it, `units`
    further units that files measure it in, each with what it is of `unit`. An image has `width` and `height` in pixels and
    1 or 3 `channels`; one of another size is refused, or with `resize` scaled until it covers them and cut to its middle.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "coerce_numbers_to_str": True}

    kind: Literal["number", "category", "text", "image"]
    unit: str | None = None
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] | None = None
    required: bool | None = None
    aliases: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    channels: Literal[1, 3] | None = None
    resize: bool | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: height, width, channels."""
        assert self.height is not None
        assert self.width is not None
        assert self.channels is not None
        return self.height, self.width, self.channels

    def names(self, canonical: str) -> dict[str, float]:
        """Every name that files may give it → what its numbers there are multiplied by.

        A further unit takes the place of the unit at a name's end, or follows it: with `units: {kg: 1000}`,
        `body_mass_g` and `BodyMass` are `body_mass_kg` and `BodyMass kg` too.
        """
        said = dict.fromkeys((canonical, *self.aliases), 1.0)
        for name in tuple(said):
            stem = plain(name).removesuffix(plain(self.unit or ""))
            said |= {f"{stem} {unit}": factor for unit, factor in self.units.items()}
        return said


class Rule(NamedTuple):
    """One condition that refuses a value; `bound` is the limit, or the values allowed."""

    column: str
    kind: Literal["missing", "below", "above", "unknown", "blank"]
    bound: float | tuple[str, ...] | None
    reason: str


@dataclass(frozen=True)
class Contract:
    """The columns of an observation by canonical name, in order."""

    columns: Mapping[str, Column]

    def rules(self) -> list[Rule]:
        """Every rule, by column and then by kind: the order in which reasons are listed everywhere."""
        found = []
        for name, column in self.columns.items():
            unit = f" {column.unit}" if column.unit else ""
            if column.required:
                found.append(Rule(name, "missing", None, f"{name}: missing"))
            if column.min is not None:
                found.append(Rule(name, "below", column.min, f"{name}: below {column.min:g}{unit}"))
            if column.max is not None:
                found.append(Rule(name, "above", column.max, f"{name}: above {column.max:g}{unit}"))
            if column.kind == "image":
                found.append(Rule(name, "blank", column.channels, f"{name}: {BLANK}"))
            if column.values is not None:
                found.append(
                    Rule(
                        name,
                        "unknown",
                        column.values,
                        f"{name}: not one of {', '.join(column.values)}",
                    )
                )
        return found

    def only(self, names: Iterable[str]) -> "Contract":
        """The contract of these columns alone, each required: what the model file carries for its features."""
        return Contract({n: Column(**{**asdict(self.columns[n]), "required": True}) for n in names})

    def to_dict(self) -> dict[str, Any]:
        return {
            name: {k: v for k, v in asdict(column).items() if v not in (None, (), {})}
            for name, column in self.columns.items()
        }

    @classmethod
    def from_dict(cls, columns: Mapping[str, Mapping[str, Any]]) -> "Contract":
        def column(fields: Mapping[str, Any]) -> Column:
            frozen: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
            }
            return Column(**frozen)

        return cls({name: column(fields) for name, fields in columns.items()})

    def resolve(self, header: Sequence[str], where: str) -> dict[str, str]:
        """Canonical name → the name that `header` uses, for every contract column found in it.

        Case, spaces and punctuation do not count: `Culmen Length (mm)` is `culmen_length_mm`.

        Raises:
            ContractError: a required column is missing, or one column stands there under two names.
        """
        known = {plain(n): name for name, c in self.columns.items() for n in c.names(name)}
        found: dict[str, str] = {}
        for given in header:
            name = known.get(plain(given))
            if name is None:
                continue
            if name in found:
                raise ContractError(
                    f"{where}: columns '{found[name]}' and '{given}' are both {name}: keep one of them and drop the other"
                )
            found[name] = given
        missing = [n for n, c in self.columns.items() if c.required and n not in found]
        if missing:
            close = {
                m: get_close_matches(m, [g for g in header if g not in found.values()], 1)
                for m in missing
            }
            hints = [f"'{g[0]}' may be {m}" for m, g in close.items() if g]
            also = (
                f" ({'; '.join(hints)}: rename it, or add it to the recipe's aliases)"
                if hints
                else ""
            )
            raise ContractError(
                f"{where}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}{also}; "
                f"it has {', '.join(header) or 'none'}"
            )
        return found

    def factor(self, name: str, given: str) -> float:
        """What numbers under the name `given` are multiplied by to be in the unit of column `name`."""
        return {plain(n): f for n, f in self.columns[name].names(name).items()}[plain(given)]

    def row_violations(self, row: Mapping[str, str | float | None]) -> list[str]:
        """Every reason to refuse one row, given as text or numbers under canonical names; empty when it is sound."""
        values: dict[str, float | str | None] = {}
        broken: dict[str, str] = {}
        for name, column in self.columns.items():
            try:
                values[name] = (
                    number(row.get(name)) if column.kind == "number" else text(row.get(name))
                )
            except ValueError as error:
                broken[name] = str(error)
        reasons = []
        for name in self.columns:
            if name in broken:
                reasons.append(f"{name}: {broken[name]}")
            reasons += [
                r.reason
                for r in self.rules()
                if r.column == name and _breaks(r, values.get(name, ...))
            ]
        return reasons


def _breaks(rule: Rule, value: Any) -> bool:
    if value is ...:  # not convertible: that is the reason already given
        return False
    if value is None:
        return rule.kind == "missing"
    match rule.kind:
        case "below":
            return bool(value < rule.bound)
        case "above":
            return bool(value > rule.bound)
        case "unknown":
            return value not in rule.bound  # type: ignore[operator]
    return False


def plain(name: str) -> str:
    """A column name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def number(value: object) -> float | None:
    """The number that a cell holds, None where it holds none.

    Raises:
        ValueError: it holds something else, or an infinity; the message is the reason.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = value.strip()
        if value.lower() in MISSING_VALUES:
            return None
        if not NUMBER.fullmatch(value):
            raise ValueError(NOT_A_NUMBER)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(NOT_A_NUMBER)
    result = float(value)
    if math.isnan(result):
        return None
    if abs(result) > FLOAT32_MAX:
        raise ValueError(NOT_FINITE)
    return result


def text(value: object) -> str | None:
    """The text that a cell holds, None where it holds none; whole numbers lose their `.0`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    stripped = str(value).strip()
    return None if stripped.lower() in MISSING_VALUES else stripped
