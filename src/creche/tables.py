"""Tables of the wild: files in, batches of canonical columns out, every row accounted for.

A batch keeps its rows as they came beside what the contract makes of them, so that a quarantined row can be given
back unchanged. CSV cells are read as text: what a cell holds is the contract's business, not the reader's.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from creche.contract import MISSING, Contract, Rule, number, text
from creche.errors import ContractError, DataError

BATCH_ROWS = 65_536
SEPARATORS = ",;\t|"
RAGGED = "row: {actual} cells where the header has {expected}"
_MISSING = pa.array(sorted(MISSING))

RAGGED_LINE = "ragged_line"
ORIGIN = pa.schema([("source", pa.string()), ("row", pa.int64()), ("reasons", pa.list_(pa.string()))])

Wrong = tuple[str, np.ndarray]  # what a cell is instead of a number, mask of such cells (n,)
Failure = tuple[str, str, np.ndarray]  # column, reason, mask of the rows it refuses (n,)


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one file."""

    rows: np.ndarray  # 1-based row numbers in the file, the header not counted (n,)
    raw: pa.RecordBatch  # the columns as they came, n rows
    values: dict[str, pa.Array]  # canonical name → float64 or string, null where missing or not convertible
    failures: list[Failure]  # what could not be converted
    converted: dict[str, np.ndarray]  # canonical name → mask of the cells that could be (n,)

    def check(self, rules: Iterable[Rule]) -> list[Failure]:
        """Everything wrong with these rows: what could not be converted, and every broken rule as a vectorised mask."""
        return self.merge((rule.column, rule.reason, _broken(rule, self)) for rule in rules if rule.column in self.values)

    def merge(self, broken: Iterable[Failure]) -> list[Failure]:
        """Conversion failures and broken rules in the contract's order; a cell that could not be converted breaks none."""
        order = {name: i for i, name in enumerate(self.values)}
        found = [*self.failures, *((c, reason, mask & self.converted[c]) for c, reason, mask in broken)]
        return sorted((f for f in found if f[2].any()), key=lambda f: order[f[0]])


@dataclass(frozen=True)
class Ragged:
    """Rows of a CSV file with more or fewer cells than its header."""

    rows: list[int]
    texts: list[str]
    reasons: list[str]


class Table:
    """One CSV or Parquet file under a contract, readable once, in batches.

    Raises:
        DataError: the file is missing, empty, not UTF-8, cut short, or no table.
        ContractError: a required column is missing, or one stands there twice.
    """

    def __init__(self, path: Path, contract: Contract, name: str | None = None) -> None:
        self.path, self.name = path, name or str(path)
        if not path.is_file():
            raise DataError(f"{self.name}: no such file")
        if path.stat().st_size == 0:
            raise DataError(f"{self.name} is empty: not even a header")
        self.header = self._header()
        repeated = sorted({h for h in self.header if self.header.count(h) > 1})
        if repeated:
            raise ContractError(f"{self.name}: the header names '{repeated[0]}' twice: keep one of them")
        self.found = contract.resolve(self.header, self.name)  # canonical name → name in the file
        self.contract = Contract({n: contract.columns[n] for n in contract.columns if n in self.found})
        self.ragged = Ragged([], [], [])

    @property
    def renamed(self) -> dict[str, str]:
        """Name in the file → canonical name, where the two differ."""
        return {given: name for name, given in self.found.items() if given != name}

    @property
    def unknown(self) -> list[str]:
        """Columns that the contract does not name."""
        return [h for h in self.header if h not in self.found.values()]

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[Batch]:
        reader = self._parquet(rows) if self._is_parquet else self._csv()
        try:
            for numbers, raw in reader:
                yield self._batch(numbers, raw)
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.name}: {_plainly(error)}") from None
        except OSError as error:
            raise DataError(f"{self.name} cannot be read to its end: {error}") from None

    def whole(self) -> Batch:
        """All rows as one batch."""
        batches = list(self.batches())
        if len(batches) == 1:
            return batches[0]
        rows = np.concatenate([b.rows for b in batches]) if batches else np.zeros(0, np.int64)
        schema = batches[0].raw.schema if batches else pa.schema([(h, pa.string()) for h in self.header])
        raw = pa.Table.from_batches([b.raw for b in batches], schema).combine_chunks()
        return self._batch(rows, pa.RecordBatch.from_arrays([c.combine_chunks() for c in raw.columns], schema=schema))

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() in (".parquet", ".pq")

    def _header(self) -> list[str]:
        try:
            if self._is_parquet:
                return list(pa.parquet.read_schema(self.path).names)
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline(1 << 20)
            self.separator = max(SEPARATORS, key=first.count)
            return next(csv.reader(io.StringIO(first), delimiter=self.separator), [])
        except UnicodeDecodeError:
            raise DataError(f"{self.name}: {NOT_UTF8}") from None
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.name} is not a whole Parquet file: {error}") from None

    def _parquet(self, rows: int) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        start = 1
        with pa.parquet.ParquetFile(self.path) as file:
            for raw in file.iter_batches(batch_size=rows):
                yield np.arange(start, start + raw.num_rows), raw
                start += raw.num_rows

    def _csv(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        start = 1
        reader = pa.csv.open_csv(
            self.path,
            # one thread: only then does Arrow say which row is ragged
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=4 << 20),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.separator, newlines_in_values=True, invalid_row_handler=self._note_ragged
            ),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(self.header, pa.string())),
        )
        for raw in reader:
            numbers, start = self._numbers(start, raw.num_rows)
            yield numbers, raw

    def _note_ragged(self, row: Any) -> str:
        self.ragged.rows.append(row.number - 1)  # Arrow counts the header
        self.ragged.texts.append(row.text)
        self.ragged.reasons.append(RAGGED.format(actual=row.actual_columns, expected=row.expected_columns))
        return "skip"

    def _numbers(self, start: int, count: int) -> tuple[np.ndarray, int]:
        """The next `count` row numbers that are not ragged, and the number after them."""
        skipped = {r for r in self.ragged.rows if r >= start}
        if not skipped:
            return np.arange(start, start + count), start + count
        kept: list[int] = []
        while len(kept) < count:
            if start not in skipped:
                kept.append(start)
            start += 1
        return np.array(kept, dtype=np.int64), start

    def _batch(self, rows: np.ndarray, raw: pa.RecordBatch) -> Batch:
        values: dict[str, pa.Array] = {}
        failures: list[Failure] = []
        converted: dict[str, np.ndarray] = {}
        for name, column in self.contract.columns.items():
            cells = raw.column(self.found[name])
            values[name], wrong = numbers(cells) if column.kind == "number" else (texts(cells), [])
            failures += [(name, f"{name}: {reason}", mask) for reason, mask in wrong]
            converted[name] = ~np.logical_or.reduce([np.zeros(len(rows), bool), *(mask for _, mask in wrong)])
        return Batch(rows, raw, values, failures, converted)


NOT_UTF8 = "not UTF-8 text; save it as UTF-8 (`iconv -f LATIN1 -t UTF-8`)"


def _plainly(error: pa.ArrowInvalid) -> str:
    message = str(error)
    return NOT_UTF8 if "UTF8" in message else message.splitlines()[0]


def numbers(cells: pa.Array) -> tuple[pa.Array, list[Wrong]]:
    """Cells as float64, null where they hold none, and the masks of those that hold something else."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.dictionary_decode()
        kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
        present = pc.if_else(pc.is_in(trimmed, _MISSING), None, trimmed)
        try:
            floats = present.cast(pa.float64())
        except pa.ArrowInvalid:
            return _one_by_one(present.to_pylist())
    elif (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)) or kind == pa.null():
        floats = cells.cast(pa.float64(), safe=False)
    else:
        return _one_by_one(cells.to_pylist())
    dense = floats.to_numpy(zero_copy_only=False)  # null becomes NaN
    infinite = np.isinf(dense)
    wrong = [("not finite", infinite)] if infinite.any() else []
    return pa.array(np.where(infinite, np.nan, dense), from_pandas=True), wrong


def _one_by_one(cells: Sequence[Any]) -> tuple[pa.Array, list[Wrong]]:
    values: list[float | None] = []
    wrong: dict[str, np.ndarray] = {}
    for i, cell in enumerate(cells):
        try:
            values.append(number(cell))
        except ValueError as error:
            wrong.setdefault(str(error), np.zeros(len(cells), bool))[i] = True
            values.append(None)
    return pa.array(values, pa.float64()), list(wrong.items())


def texts(cells: pa.Array) -> pa.Array:
    """Cells as text, stripped, null where they hold none."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return pa.array([text(cell) for cell in cells.to_pylist()], pa.string())
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return pc.if_else(pc.is_in(trimmed, _MISSING), None, trimmed)


def _broken(rule: Rule, batch: Batch) -> np.ndarray:
    values = batch.values[rule.column]
    match rule.kind:
        case "missing":
            mask = pc.is_null(values)
        case "below":
            mask = pc.less(values, rule.bound)
        case "above":
            mask = pc.greater(values, rule.bound)
        case "unknown":
            mask = pc.and_(pc.invert(pc.is_in(values, pa.array(rule.bound))), pc.is_valid(values))
    broken: np.ndarray = np.asarray(pc.fill_null(mask, False))
    return broken


def reasons_by_row(failures: Iterable[Failure], count: int) -> list[list[str]]:
    """For each of `count` rows, why it is refused; an empty list where it is not."""
    reasons: list[list[str]] = [[] for _ in range(count)]
    for _, reason, mask in failures:
        for i in np.flatnonzero(mask):
            reasons[i].append(reason)
    return reasons


def quarantine_table(batch: Batch, reasons: Sequence[list[str]], source: str) -> pa.Table:
    """The refused rows of a batch as they came, plus `source`, `row` and `reasons`."""
    bad = pa.array([bool(r) for r in reasons], pa.bool_())
    kept = pa.Table.from_batches([batch.raw]).filter(bad)
    return _with_origin(kept, source, np.asarray(batch.rows)[np.asarray(bad)], [r for r in reasons if r])


def ragged_table(ragged: Ragged, source: str) -> pa.Table:
    """The ragged rows, each as the line it was, since its cells cannot be told apart."""
    lines = pa.table({RAGGED_LINE: pa.array(ragged.texts, pa.string())})
    return _with_origin(lines, source, np.array(ragged.rows), [[r] for r in ragged.reasons])


def _with_origin(table: pa.Table, source: str, rows: np.ndarray, reasons: list[list[str]]) -> pa.Table:
    table = table.select([c for c in table.column_names if c not in ORIGIN.names])
    for field, values in zip(ORIGIN, ([source] * table.num_rows, rows, reasons), strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table
