"""The rows of a table, divided by the contract block by block.

Great Expectations checks one block at a time, so that a table may be larger than the memory. What
concerns rows of different blocks is found out before, from the few columns that it needs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Contract
from creche.data.batch import Batch, Violation
from creche.data.expectations import as_frame, validate_frame
from creche.data.quarantine import quarantine_table, reasons_by_row
from creche.data.row_keys import hash_rows
from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import DataError, listed
from creche.pipeline.reference_tables import ReferenceTables
from creche.recipe import Recipe

BATCH_ROWS = 131_072  # that Great Expectations checks at once

# Canonical name → values of all rows.
WholeColumns = Mapping[str, pa.ChunkedArray]


@dataclass(frozen=True)
class ValidatedBlock:
    """Some consecutive rows of a table, divided by the contract."""

    accepted: pa.Table  # canonical columns, plus `row`
    quarantine: pa.Table  # columns as they were read, plus `source`, `row`, `reasons`
    reasons: Counter[str]  # reason → rows
    unlabeled: int  # rows


def validated_blocks(
    reader: TableReader, source: TableSource, recipe: Recipe, references: ReferenceTables
) -> Iterator[ValidatedBlock]:
    """Read a table and yield its rows, divided by the recipe's contract.

    Args:
        reader: of the table, not read yet.
        source: the same table, for what has to be known of all rows beforehand.
        recipe: with the contract.
        references: the values that some columns may have.

    Raises:
        DataError: the table cannot be read, or changes meanwhile.
    """
    needed = _columns_across_rows(recipe)
    if recipe.image_features:
        # Decoding images twice takes longer than all else.
        batch = reader.read_all()
        batches = iter([batch])
        whole: WholeColumns = {name: pa.chunked_array([batch.values[name]]) for name in needed}
    else:
        whole = _read_columns(source, recipe, needed)
        batches = reader.batches(BATCH_ROWS)
    across_rows = violations_across_rows(whole, recipe)
    start = 0
    for batch in batches:
        end = start + len(batch.row_numbers)
        violations = _violations(batch, reader.contract)
        violations += references.check(batch)
        violations += [_of_rows(violation, start, end, source) for violation in across_rows]
        yield _divide(batch, violations, reader, recipe)
        start = end


def _violations(batch: Batch, contract: Contract) -> list[Violation]:
    if not len(batch.row_numbers):
        return []
    return validate_frame(as_frame(batch, contract), contract)


def _of_rows(violation: Violation, start: int, end: int, source: TableSource) -> Violation:
    mask = violation.mask[start:end]
    if len(mask) != end - start:
        raise DataError(f"{source.name} changed while the run was reading it: start it again")
    return violation._replace(mask=mask)


def _divide(
    batch: Batch, broken: list[Violation], reader: TableReader, recipe: Recipe
) -> ValidatedBlock:
    is_unlabeled = _is_unlabeled(batch, recipe.label)
    violations = []
    for violation in batch.merge(broken):
        if violation.reason == f"{recipe.label}: missing":
            violation = violation._replace(reason=unlabeled_reason(recipe.label))
        violations.append(violation)
    reasons = reasons_by_row(violations, len(batch.row_numbers))
    is_accepted = pc.equal(pc.list_value_length(reasons), 0)
    counts: Counter[str] = Counter()
    for violation in violations:
        counts[violation.reason] += int(np.count_nonzero(violation.mask))
    return ValidatedBlock(
        accepted=_accepted(batch).filter(is_accepted),
        quarantine=quarantine_table(batch, reasons, reader.name),
        reasons=counts,
        unlabeled=int(np.count_nonzero(is_unlabeled)),
    )


def unlabeled_reason(label: str) -> str:
    """Return why a row without a label is no training row."""
    return f"{label}: no label, so left out of training"


def _is_unlabeled(batch: Batch, label: str) -> np.ndarray:
    """Return the mask of the rows (n,) that have no label; one that is no value is not missing."""
    is_missing: np.ndarray = np.asarray(pc.is_null(batch.values[label]))
    convertible = batch.convertible[label]
    return is_missing if convertible is None else is_missing & convertible


def _accepted(batch: Batch) -> pa.Table:
    """Return the values of a batch, in types that all batches of a file have."""
    columns: dict[str, pa.Array] = {"row": pa.array(batch.row_numbers, pa.int64())}
    for name, values in batch.values.items():
        # numpy would get a wrong text for a null of a dictionary (seen with pyarrow 25).
        is_dictionary = pa.types.is_dictionary(values.type)
        columns[name] = values.dictionary_decode() if is_dictionary else values
    return pa.table(columns)


def _columns_across_rows(recipe: Recipe) -> tuple[str, ...]:
    """Return the columns that decide on rows of different blocks."""
    names = list(recipe.unique)
    if recipe.split.designated_holdout is not None:
        names += [recipe.split.designated_holdout[0], *recipe.key_columns]
    return tuple(dict.fromkeys(names))


def _read_columns(source: TableSource, recipe: Recipe, names: Sequence[str]) -> WholeColumns:
    """Return some columns of a whole table."""
    if not names:
        return {}
    columns = recipe.contract().columns
    reader = TableReader(source, Contract({name: columns[name] for name in names}))
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for batch in reader.batches(BATCH_ROWS):
        for name in names:
            values = batch.values[name]
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            parts[name].append(values)
    return {name: pa.chunked_array(arrays) for name, arrays in parts.items() if arrays}


def violations_across_rows(whole: WholeColumns, recipe: Recipe) -> list[Violation]:
    """Return what is wrong with rows beside others, with masks over all rows of the table."""
    if not whole:
        return []
    return [*_repeated_rows(whole, recipe), *_rows_of_holdout_groups(whole, recipe)]


def _repeated_rows(whole: WholeColumns, recipe: Recipe) -> list[Violation]:
    """Return the rows that agree with another one in all columns of `unique`.

    A row with a missing value there agrees with none.
    """
    if not recipe.unique:
        return []
    codes = np.zeros(len(whole[recipe.unique[0]]), np.int64)
    is_complete = np.ones(len(codes), bool)
    for name in recipe.unique:
        column_codes = _codes(whole[name])
        is_complete &= column_codes >= 0
        # Two codes become one; it is numbered anew, so that it stays small.
        pairs = codes * (int(column_codes.max(initial=0)) + 1) + column_codes
        codes = _codes(pa.chunked_array([pa.array(pairs)]))
    counts = np.bincount(codes[is_complete], minlength=len(codes))
    mask = is_complete & (counts[codes] > 1)
    reason = f"{listed(recipe.unique)}: not unique"
    return [Violation(recipe.unique[-1], reason, mask)]


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each distinct value (n,), -1 for a missing one."""
    if pa.types.is_floating(column.type):
        # -0.0 + 0.0 is 0.0.
        column = pc.add(column, 0.0)
    encoded = column.combine_chunks().dictionary_encode()
    codes: np.ndarray = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64)
    return codes


def _rows_of_holdout_groups(whole: WholeColumns, recipe: Recipe) -> list[Violation]:
    """Return the rows outside a designated holdout whose group has a row in it.

    The model must not be trained on groups that it is judged on.
    """
    designated = recipe.split.designated_holdout
    if designated is None:
        return []
    column, value = designated
    names = recipe.key_columns
    keys = [whole[name] for name in names]
    hashes = hash_rows(keys, recipe.split.seed)
    is_holdout = np.asarray(pc.fill_null(pc.equal(whole[column], value), False))
    is_complete = np.ones(len(hashes), bool)
    for name in names:
        if recipe.columns[name].missing == "refuse":
            # Such a key identifies no group, and the row is refused for its missing value.
            is_complete &= np.asarray(whole[name].is_valid())
    in_holdout_group = np.isin(hashes, hashes[is_holdout & is_complete]) & is_complete
    mask = in_holdout_group & ~is_holdout
    return [Violation(names[0], f"{listed(names)}: is in the holdout too", mask)]
