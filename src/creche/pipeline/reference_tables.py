"""The reference tables of a recipe: each has every allowed value of a column."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Contract
from creche.data.batch import Batch, Violation
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError
from creche.provenance import md5_of
from creche.recipe import Recipe
from creche.records import SourceInfo


def check_references_unchanged(source: SourceInfo, root: Path) -> None:
    """Check that the reference tables are those that were pulled.

    Raises:
        DataError: one is not.
    """
    for file, md5 in source.references.items():
        path = root / file
        if not path.is_file() or md5_of(path) != md5:
            raise DataError(f"{file} changed while the run was reading it: start it again")


@dataclass(frozen=True)
class ReferenceTables:
    """The allowed values of some columns."""

    values: Mapping[str, pa.Array]  # canonical name → values
    reasons: Mapping[str, str]  # canonical name → why a row is refused

    @classmethod
    def read(cls, recipe: Recipe, root: Path) -> "ReferenceTables":
        """Read the reference tables of a recipe.

        Args:
            root: that their paths are relative to.

        Raises:
            DataError: one cannot be read, or has no value.
        """
        values = {}
        reasons = {}
        for name, reference in recipe.table.reference.items():
            values[name] = _read_values(recipe, name, root)
            reasons[name] = f"{name}: not in column {reference.column} of {reference.file}"
        return cls(values, reasons)

    def check(self, batch: Batch) -> list[Violation]:
        """Return the rows with a value that the reference table of its column lacks."""
        violations = []
        for name, allowed in self.values.items():
            if name not in batch.values:
                continue
            values = _plain(batch.values[name])
            is_absent = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, allowed)))
            violations.append(Violation(name, self.reasons[name], np.asarray(is_absent)))
        return violations


def _read_values(recipe: Recipe, name: str, root: Path) -> pa.Array:
    """Return the values of a reference table, read and spelled as those of the column are."""
    reference = recipe.table.reference[name]
    column = replace(recipe.columns[name], required=True, aliases=(), units={})
    source = TableSource.local(root / reference.file, reference.file)
    try:
        reader = TableReader(source, Contract({reference.column: column}))
    except ContractError as error:
        raise ContractError(f"table.reference.{name}: {error}") from None
    values = _plain(reader.read_all().values[reference.column])
    distinct = pc.drop_null(pc.unique(values))
    if not len(distinct):
        raise DataError(
            f"table.reference.{name}: {reference.file} has no {column.kind} in column "
            f"{reference.column}: name another column, or remove this key"
        )
    return distinct


def _plain(values: pa.Array) -> pa.Array:
    """Return values without a dictionary, and 0 in place of -0, which Arrow tells apart."""
    if pa.types.is_dictionary(values.type):
        return values.cast(pa.string())
    if pa.types.is_floating(values.type):
        return pc.add(values, 0.0)
    return values
