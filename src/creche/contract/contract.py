"""The contract: the columns of an observation, their types, and the values that are refused.

It is stated once in the recipe, carried inside the model file, and executed three ways: by Great
Expectations where training data are validated, by Arrow masks where batches are scored, by
`Contract.row_violations` for one row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from creche.contract.cells import normalize_name
from creche.contract.column import Column
from creche.contract.json_types import check_json
from creche.contract.row_rules import RowRule
from creche.contract.rules import Rule
from creche.errors import LISTED_NAMES, ContractError, listed

MAX_COMPARED = 1000  # names of a header among which a similar one is looked for


@dataclass(frozen=True)
class Contract:
    """The columns of an observation by canonical name, in order, and the rules across them."""

    columns: Mapping[str, Column]
    row_rules: tuple[RowRule, ...] = ()

    def rules(self) -> list[Rule]:
        """Return the rules of every column, by column and then by kind.

        That is the order of all reasons; those of the rules across columns come last.
        """
        rules = []
        for name, column in self.columns.items():
            rules += column.type.rules(name, column)
        return rules

    def subset(self, names: Iterable[str]) -> "Contract":
        """Return the contract of these columns alone, each required, as a model file carries it.

        It has the rules across columns that name no other column.
        """
        columns = {name: replace(self.columns[name], required=True) for name in names}
        return Contract(columns).with_row_rules(self.row_rules)

    def with_row_rules(self, row_rules: Iterable[RowRule]) -> "Contract":
        """Return the contract with those of some rules whose columns it has."""
        own_rules = [rule for rule in row_rules if self.columns.keys() >= set(rule.columns)]
        return Contract(self.columns, tuple(own_rules))

    @property
    def image_columns(self) -> dict[str, Column]:
        """The columns that hold images."""
        return {name: column for name, column in self.columns.items() if column.type.is_image}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the columns as JSON; what a column does not state is left out."""
        columns: dict[str, dict[str, Any]] = {}
        for name, column in self.columns.items():
            columns[name] = {}
            stated = asdict(column)
            for field in fields(column):
                # An empty list may be stated where the default is none.
                if stated[field.name] != _default(field):
                    columns[name][field.name] = stated[field.name]
        return columns

    @classmethod
    def from_dict(cls, columns: Mapping[str, Mapping[str, Any]]) -> "Contract":
        """Return the contract of the columns that `to_dict` wrote.

        Raises:
            ValueError: it is of another shape, or a column states what its type does not allow.
        """
        check_json(columns, dict[str, Column], "it")
        parsed = {}
        for name, stated in columns.items():
            parsed[name] = _column_from_json(stated)
            parsed[name].type.check(name, parsed[name])
        return cls(parsed)

    def resolve(self, header: Sequence[str], where: str) -> dict[str, str]:
        """Return canonical name → name in the header, for every contract column that it has.

        Case, spaces and punctuation do not count: `Culmen Length (mm)` is `culmen_length_mm`.

        Args:
            where: what the table is called in messages.

        Raises:
            ContractError: a required column is missing, or the header has one column under two
                names.
        """
        canonical_names = {}
        for name, column in self.columns.items():
            for accepted_name in column.accepted_names(name):
                canonical_names[normalize_name(accepted_name)] = name
        resolved: dict[str, str] = {}
        for header_name in header:
            canonical_name = canonical_names.get(normalize_name(header_name))
            if canonical_name is None:
                continue
            if canonical_name in resolved:
                raise ContractError(
                    f"{where}: columns '{resolved[canonical_name]}' and '{header_name}' are both "
                    f"{canonical_name}: keep one of them and drop the other"
                )
            resolved[canonical_name] = header_name
        self._check_complete(resolved, header, where)
        return resolved

    def _check_complete(
        self, resolved: Mapping[str, str], header: Sequence[str], where: str
    ) -> None:
        missing = []
        for name, column in self.columns.items():
            if column.required and name not in resolved:
                missing.append(name)
        if not missing:
            return
        used = set(resolved.values())
        unused = [name for name in header if name not in used]
        hints = []
        # A comparison of thousands of names with thousands takes minutes.
        for name in missing[:LISTED_NAMES]:
            for similar in get_close_matches(name, unused[:MAX_COMPARED], 1):
                hints.append(f"'{similar}' may be {name}")
        advice = ""
        if hints:
            advice = f" ({'; '.join(hints)}: rename it, or add it to the recipe's aliases)"
        plural = "s" if len(missing) > 1 else ""
        raise ContractError(
            f"{where}: missing column{plural} {listed(missing)}{advice}; it has "
            f"{listed(header) or 'none'}"
        )

    def unit_factor(self, name: str, header_name: str) -> float:
        """Return the factor from the unit of a column in a header to that of the contract."""
        for accepted_name, factor in self.columns[name].accepted_names(name).items():
            if normalize_name(accepted_name) == normalize_name(header_name):
                return factor
        raise KeyError(header_name)

    def row_violations(self, row: Mapping[str, str | float | None]) -> list[str]:
        """Return every reason to refuse one row; empty where it keeps the contract.

        Args:
            row: canonical name → cell.
        """
        reasons = []
        values: dict[str, Any] = {}
        for name, column in self.columns.items():
            try:
                value = column.type.parse(row.get(name), column)
            except ValueError as error:
                # What cannot be converted breaks no other rule.
                reasons.append(f"{name}: {error}")
                continue
            values[name] = value
            for rule in column.type.rules(name, column):
                if rule.is_broken_by(value):
                    reasons.append(rule.reason)
        for row_rule in self.row_rules:
            is_convertible = values.keys() >= set(row_rule.columns)
            if is_convertible and row_rule.is_broken_by(values):
                reasons.append(row_rule.reason)
        return reasons


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _column_from_json(stated: Mapping[str, Any]) -> Column:
    arguments: dict[str, Any] = {}
    for key, value in stated.items():
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return Column(**arguments)
