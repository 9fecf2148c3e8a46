"""Tables of the wild: files in, batches of canonical columns out, every row accounted for.

A batch keeps its rows as they came beside what the contract makes of them, so that a quarantined row can be given
back unchanged. CSV cells are read as text: what a cell holds is the contract's business, not the reader's.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from creche.contract import FLOAT32_MAX, MISSING_VALUES, Column, Contract, Rule, number, text
from creche.data import images
from creche.data.sources import TableSource
from creche.errors import ContractError, DataError

BATCH_ROWS = 32_768
IMAGE_ROWS = 1024
IMAGE_BYTES = 32 << 20  # of encoded pictures, or of pixels, in one batch
BLOCK_BYTES = 2 << 20  # of CSV and JSON lines: some 50,000 rows of a narrow table
HEADER_BYTES = 4 << 20
SEPARATORS = ",;\t|"
RAGGED = "row: {actual} cells where the header has {expected}"
RAGGED_LINE = "ragged_line"
ORIGIN = pa.schema(
    [("source", pa.string()), ("row", pa.int64()), ("reasons", pa.list_(pa.string()))]
)
NEWLINE = 10
CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the planes of red, green and blue
NOT_UTF8 = "not UTF-8 text; save it as UTF-8 (`iconv -f LATIN1 -t UTF-8`)"
_MISSING = pa.array(np.array(sorted(MISSING_VALUES)))
_PLAIN_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$"  # what Arrow and Python read alike

Wrong = tuple[str, np.ndarray]  # what a cell is instead of a number, mask of such cells (n,)
Violation = tuple[str, str, np.ndarray]  # column, reason, mask of the rows it refuses (n,)


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one file."""

    rows: np.ndarray  # 1-based row numbers in the file, the header not counted (n,)
    raw: pa.RecordBatch  # the columns as they came, n rows
    values: dict[
        str, pa.Array
    ]  # canonical name → float64, string or pixels, null where missing or not convertible
    failures: list[Violation]  # what could not be converted
    converted: dict[
        str, np.ndarray | None
    ]  # canonical name → mask of the cells that could be (n,); None: all

    def check(self, rules: Iterable[Rule]) -> list[Violation]:
        """Everything wrong with these rows: what could not be converted, and every broken rule as a vectorized mask."""
        found = (
            (rule, _broken(rule, self.values[rule.column]))
            for rule in rules
            if rule.column in self.values
        )
        return self.merge(
            (rule.column, rule.reason, mask) for rule, mask in found if mask is not None
        )

    def merge(self, broken: Iterable[Violation]) -> list[Violation]:
        """Conversion failures and broken rules in the contract's order; a cell that could not be converted breaks none."""
        order = {name: i for i, name in enumerate(self.values)}
        found = list(self.failures)
        for column, reason, mask in broken:
            converted = self.converted[column]
            found.append((column, reason, mask if converted is None else mask & converted))
        return sorted((f for f in found if f[2].any()), key=lambda f: order[f[0]])


@dataclass(frozen=True)
class MalformedRows:
    """Rows that are no rows of the table: more or fewer cells than its header, or no JSON object."""

    rows: list[int]
    texts: list[str]
    reasons: list[str]


class TableReader:
    """One file of observations under a contract, readable once, in batches.

    Raises:
        DataError: the file is missing, empty, not UTF-8, cut short, or no table.
        ContractError: a required column is missing, or one stands there twice.
    """

    def __init__(self, source: TableSource, contract: Contract) -> None:
        self.source, self.name = source, source.name
        if not source.together and source.size() == 0:
            raise DataError(f"{self.name} is empty: not even a header")
        self.header: list[str] = []
        self.own: tuple[str, ...] = ()
        self.schema = pa.schema([])  # what the file itself says of its columns
        self.header = self._header()
        repeated = sorted({h for h in self.header if self.header.count(h) > 1})
        if repeated:
            raise ContractError(
                f"{self.name}: the header names '{repeated[0]}' twice: keep one of them"
            )
        self.own = tuple(
            self.header
        )  # the file's columns; a key of its path is one more, unless it stands there too
        self.header += [k for k in source.keys if k not in self.own]
        self.found = contract.resolve(self.header, self.name)  # canonical name → name in the file
        self.contract = Contract(
            {n: contract.columns[n] for n in contract.columns if n in self.found}
        )
        self.images = {n: c for n, c in self.contract.columns.items() if c.kind == "image"}
        if self.images and source.format in ("csv", "json"):
            raise ContractError(
                f"{self.name}: cells of text hold no pictures, as {next(iter(self.images))} must: give a folder of pictures, "
                "or Parquet with a column of their bytes"
            )
        if source.format == "images":
            self.header.remove("image")  # read where the blocks are converted
        self.factors = {n: contract.factor(n, given) for n, given in self.found.items()}
        self.ragged = MalformedRows([], [], [])

    @property
    def renamed(self) -> dict[str, str]:
        """Name in the file → canonical name, where the two differ, and the factor between their units."""
        factors = {n: f" (× {f:g})" if f != 1 else "" for n, f in self.factors.items()}
        return {given: name + factors[name] for name, given in self.found.items() if given != name}

    @property
    def kept(self) -> pa.Schema:
        """The file's columns as a quarantine has them: bytes as bytes, all else as text."""
        bytes_ = {f.name for f in self.schema if _is_bytes(f.type)} | set(self._structs())
        kinds = (pa.binary() if h in bytes_ else pa.string() for h in self.header)
        return pa.schema(list(zip(given_names(self.header), kinds, strict=True)))

    @property
    def unknown(self) -> list[str]:
        """Columns that the contract does not name."""
        return [h for h in self.header if h not in self.found.values()]

    def blocks(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """Row numbers and rows as they came: what only one thread can do."""
        readers = {
            "parquet": self._parquet, "arrow": self._arrow, "json": self._json, "csv": self._csv, "images": self._images,
            "cifar": self._cifar,
        }  # fmt: skip
        try:
            for rows, raw in readers[self.source.format]():
                for key, value in self.source.keys.items():
                    if key not in raw.schema.names:
                        raw = raw.append_column(key, pa.array([value] * raw.num_rows, pa.string()))
                yield rows, self._with_bytes(_kernelled(raw))
        except UnicodeDecodeError:
            raise DataError(f"{self.name}: {NOT_UTF8}") from None
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.name}: {_plainly(error)}") from None
        except (OSError, EOFError) as error:
            raise DataError(f"{self.name} cannot be read to its end: {error}") from None

    def whole(self) -> Batch:
        """All rows as one batch."""
        blocks = list(self.blocks())
        if len(blocks) == 1:
            return self.convert(*blocks[0])
        rows = np.concatenate([b[0] for b in blocks]) if blocks else np.zeros(0, np.int64)
        schema = (
            blocks[0][1].schema if blocks else pa.schema([(h, pa.string()) for h in self.header])
        )
        raw = pa.Table.from_batches([b[1] for b in blocks], schema)
        columns = [
            (c.cast(pa.large_binary()) if c.type == pa.binary() else c).combine_chunks()
            for c in raw.columns
        ]  # > 2 GB
        return self.convert(rows, pa.RecordBatch.from_arrays(columns, names=raw.column_names))

    def convert(self, rows: np.ndarray, raw: pa.RecordBatch) -> Batch:
        """What the contract makes of a block of rows."""
        values: dict[str, pa.Array] = {}
        failures: list[Violation] = []
        converted: dict[str, np.ndarray | None] = {}
        for name, column in self.contract.columns.items():
            values[name], wrong = self._converted(name, column, raw)
            failures += [(name, f"{name}: {reason}", mask) for reason, mask in wrong]
            converted[name] = ~np.logical_or.reduce([mask for _, mask in wrong]) if wrong else None
        return Batch(rows, raw, values, failures, converted)

    def _converted(
        self, name: str, column: Column, raw: pa.RecordBatch
    ) -> tuple[pa.Array, list[Wrong]]:
        given = self.found[name]
        if column.kind == "image" and self.source.format == "images":
            return images.decoded(
                map(self._content, raw.column("path").to_pylist()), raw.num_rows, column
            )
        cells = raw.column(given)
        if column.kind == "image":
            return pictures(cells, column)
        if column.kind == "number":
            values, wrong = numbers(cells, self.decimal)
            return (
                pc.multiply(values, self.factors[name]) if self.factors[name] != 1 else values
            ), wrong
        return categories(cells) if column.kind == "category" else texts(cells), []

    def _content(self, file: str) -> bytes:
        try:
            with self.source.file(f"{self.source.path}/{file}") as opened:
                return bytes(
                    opened.read(min(opened.size(), images.MAX_FILE_BYTES + 1))
                )  # room for all that is asked is made
        except OSError as error:
            raise DataError(f"{self.name}/{file} cannot be read: {error}") from None

    @property
    def decimal(self) -> str:
        """What parts whole from fraction: a comma where semicolons part the cells."""
        return "," if self.source.format == "csv" and self.separator == ";" else "."

    def _header(self) -> list[str]:
        try:
            match self.source.format:
                case "parquet":
                    with self.source.file() as file:
                        self.schema = pa.parquet.read_schema(file)
                        return list(self.schema.names)
                case "arrow":
                    with self.source.file() as file:
                        self.schema = _arrow_reader(file).schema
                        return list(self.schema.names)
                case "images":
                    fields = (
                        ["path", "folder"] if any("/" in f for f in self.source.files) else ["path"]
                    )
                    self.schema = pa.schema([(f, pa.string()) for f in fields])
                    return [*fields, "image"]
                case "cifar":
                    self.schema = pa.schema(
                        [
                            ("image", pa.binary(CIFAR_RECORD - 1)),
                            ("label", pa.string()),
                            ("part", pa.string()),
                        ]
                    )
                    return list(self.schema.names)
                case "json":  # to its end: a key may show in the last line for the first time
                    names = dict.fromkeys(
                        chain.from_iterable(raw.schema.names for _, raw in self._json())
                    )
                    if not names:
                        raise StopIteration
                    return list(names)
            return self._csv_header()
        except StopIteration:
            raise DataError(f"{self.name} holds no rows") from None
        except UnicodeDecodeError:
            raise DataError(f"{self.name}: {NOT_UTF8}") from None
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            kind = {"parquet": "Parquet", "arrow": "Arrow"}.get(
                self.source.format, self.source.format
            )
            raise DataError(
                f"{self.name} is not a whole {kind} file: {str(error).splitlines()[0]}"
            ) from None

    def _csv_header(self) -> list[str]:
        with self.source.stream() as stream:
            start = bytes(stream.read(HEADER_BYTES))
        if start.startswith(b"\x1f\x8b"):
            raise DataError(f"{self.name} is packed with gzip: give it a name that ends in .gz")
        lines = start.decode("utf-8-sig", "surrogateescape").lstrip("\r\n")
        outside = re.sub(r'"[^"]*"', "", lines).split("\n", 1)[0]
        self.separator = max(SEPARATORS, key=outside.count)
        header: list[str] | None = None
        try:
            rows = csv.reader(io.StringIO(lines, newline=""), delimiter=self.separator)
            header = next(rows, [])
            self._header_only = not any(rows)
        except csv.Error as error:
            if "field larger" not in str(error):
                raise DataError(f"{self.name}: {error}") from None
            if header is None:
                raise DataError(
                    f"{self.name}: its first line is longer than a header can be"
                ) from None
            self._header_only = False
        if any("\udc80" <= c <= "\udcff" for h in header for c in h):
            raise DataError(f"{self.name}: {NOT_UTF8}")
        return header

    def _parquet(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        categories_here = {
            self.found[n] for n, c in self.contract.columns.items() if c.kind == "category"
        }
        listed = [
            f.name for f in self.schema if f.name in categories_here and pa.types.is_string(f.type)
        ]
        with self.source.file() as opened:
            file = pa.parquet.ParquetFile(
                opened, read_dictionary=listed, pre_buffer=False
            )  # else all that was read stays
            step = self._step(self.source.size() if self.images else 0, file.metadata.num_rows)
            yield from _numbered(file.iter_batches(batch_size=step))

    def _arrow(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        with self.source.file() as file:
            reader = _arrow_reader(file)
            batches = (
                reader
                if hasattr(reader, "read_next_batch")
                else map(reader.get_batch, range(reader.num_record_batches))
            )
            steps = ((b, self._step(b.nbytes if self.images else 0, b.num_rows)) for b in batches)
            yield from _numbered(
                b.slice(i, step) for b, step in steps for i in range(0, b.num_rows, step)
            )

    def _step(self, size: int = 0, rows: int = 0) -> int:
        """Rows of a batch, where so many have `size` bytes: pictures make them heavy, before or after they are decoded."""
        if not self.images:
            return BATCH_ROWS
        heaviest = max(size // max(rows, 1), *(math.prod(c.shape) for c in self.images.values()))
        return max(1, min(IMAGE_ROWS, IMAGE_BYTES // heaviest))

    def _images(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        files, step = self.source.files, self._step()
        for start in range(0, len(files), step):
            some = files[start : start + step]
            said = {"path": some, "folder": [PurePosixPath(f).parent.name or None for f in some]}
            cells = [
                pa.array(np.array(said[n], dtype=object), pa.string()) for n in self.schema.names
            ]
            yield (
                np.arange(start + 1, start + 1 + len(some)),
                pa.RecordBatch.from_arrays(cells, schema=self.schema),
            )

    def _cifar(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        names = pa.array(
            np.array([*CIFAR_CLASSES, *map(str, range(len(CIFAR_CLASSES), 256))], dtype=object),
            pa.string(),
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for file, place in zip(self.source.files, self.source.file_paths, strict=True):
                part = "test" if PurePosixPath(file).name.startswith("test") else "train"
                with self.source.file(place) as opened:
                    while block := opened.read(self._step() * CIFAR_RECORD):
                        if len(block) % CIFAR_RECORD:
                            raise DataError(
                                f"{place} is no file of CIFAR-10: its size is no multiple of {CIFAR_RECORD} bytes"
                            )
                        records = np.frombuffer(block, np.uint8).reshape(-1, CIFAR_RECORD)
                        pixels = images.as_column(
                            records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                        )
                        cells = [
                            pixels,
                            names.take(pa.array(records[:, 0])),
                            pa.array([part] * len(records), pa.string()),
                        ]
                        yield pa.RecordBatch.from_arrays(cells, schema=self.schema)

        return _numbered(batches())

    def _with_bytes(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        """Structs of a picture's bytes and path, as Hugging Face has them, as the bytes."""
        for given in self._structs():
            raw = raw.set_column(
                raw.schema.get_field_index(given),
                given,
                pc.struct_field(raw.column(given), "bytes"),
            )
        return raw

    def _structs(self) -> list[str]:
        given = [self.found[name] for name in self.images]
        return [f.name for f in self.schema if f.name in given and _holds_bytes(f.type)]

    def _csv(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        if self._header_only:
            return
        start = 1
        with self.source.stream() as stream:
            reader = pa.csv.open_csv(
                stream,
                # one thread: only then does Arrow say which row is ragged
                read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=pa.csv.ParseOptions(
                    delimiter=self.separator,
                    newlines_in_values=True,
                    invalid_row_handler=self._note_ragged,
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(self.own, pa.string())
                ),
            )
            for raw in reader:
                rows, start = self._rows(start, raw.num_rows)
                self._refuse_open_quote(rows, raw)
                yield rows, raw
        for row, line in zip(self.ragged.rows, self.ragged.texts, strict=True):
            for quoted in re.findall('"[^"]*', line):
                self._refuse_swallowed(row, quoted.split("\n")[1:])

    def _refuse_open_quote(self, rows: np.ndarray, raw: pa.RecordBatch) -> None:
        """A quote that is never closed swallows the rows after it, and Arrow says nothing."""
        for cells in raw.columns:
            text_bytes = cells.buffers()[2]
            if text_bytes is None or not (np.frombuffer(text_bytes, np.uint8) == NEWLINE).any():
                continue
            for i in np.flatnonzero(
                np.asarray(pc.fill_null(pc.match_substring(cells, "\n"), False))
            ):
                self._refuse_swallowed(int(rows[i]), cells[int(i)].as_py().split("\n"))

    def _refuse_swallowed(self, row: int, lines: list[str]) -> None:
        if any(line.count(self.separator) >= max(len(self.own) - 1, 1) for line in lines):
            raise DataError(
                f"{self.name}: a quote is opened in row {row} and closed nowhere, or rows later"
            )

    def _note_ragged(self, row: Any) -> str:
        self.ragged.rows.append(row.number - 1)  # Arrow counts the header
        self.ragged.texts.append(row.text)
        self.ragged.reasons.append(
            RAGGED.format(actual=row.actual_columns, expected=row.expected_columns)
        )
        return "skip"

    def _rows(self, start: int, count: int) -> tuple[np.ndarray, int]:
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

    def _json(self) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """Blocks of lines; a cell may be of any type in any row."""
        names = list(self.own) or None  # None: the look for the header
        start, left = 1, b""
        with self.source.stream() as stream:
            while block := stream.read(BLOCK_BYTES):
                whole, newline, left = (left + bytes(block)).rpartition(b"\n")
                if newline:
                    rows, raw, start = self._json_block(whole, start, names)
                    yield rows, raw
            if left.strip():
                rows, raw, start = self._json_block(left, start, names)
                yield rows, raw

    def _json_block(
        self, block: bytes, start: int, names: list[str] | None
    ) -> tuple[np.ndarray, pa.RecordBatch, int]:
        lines = [line for line in block.decode("utf-8-sig").split("\n") if line.strip()]
        objects, rows = [], []
        for row, line in enumerate(lines, start):
            try:
                parsed = json.loads(line)
                json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair is no text
            except (ValueError, RecursionError):
                parsed = None
            if isinstance(parsed, dict):
                objects.append(parsed)
                rows.append(row)
            elif names is not None:
                self.ragged.rows.append(row)
                self.ragged.texts.append(line)
                self.ragged.reasons.append("row: not a JSON object")
        known = names or list(dict.fromkeys(key for o in objects for key in o))
        columns = [_cells([o.get(n) for o in objects]) for n in known]
        return (
            np.array(rows, np.int64),
            pa.RecordBatch.from_arrays(columns, names=known),
            start + len(lines),
        )


def _cells(values: list[Any]) -> pa.Array:
    """JSON values as text, since one column may hold several types; null where there is none."""
    said = (v if v is None or isinstance(v, str) else json.dumps(v) for v in values)
    return pa.array(np.array(list(said), dtype=object), pa.string())


def _kernelled(raw: pa.RecordBatch) -> pa.RecordBatch:
    """Columns in types that Arrow's functions know: views as what they show, dictionaries that hold null as what they say."""
    for i, field in enumerate(raw.schema):
        cells = raw.column(i)
        if pa.types.is_string_view(field.type):
            raw = raw.set_column(i, field.name, cells.cast(pa.string()))
        elif pa.types.is_binary_view(field.type):
            raw = raw.set_column(i, field.name, cells.cast(pa.binary()))
        elif pa.types.is_dictionary(field.type) and cells.dictionary.null_count:
            raw = raw.set_column(i, field.name, cells.dictionary_decode())
    return raw


def _arrow_reader(file: Any) -> Any:
    try:
        return pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file)


def _numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    start = 1
    for raw in batches:
        yield np.arange(start, start + raw.num_rows), raw
        start += raw.num_rows


def _plainly(error: pa.ArrowInvalid) -> str:
    message = str(error)
    if "UTF8" in message:
        return NOT_UTF8
    if "straddling" in message or "block size" in message:
        return f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quote is never closed"
    return message.splitlines()[0]


def _is_bytes(kind: pa.DataType) -> bool:
    kinds = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(is_one(kind) for is_one in kinds)


def _holds_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def pictures(cells: pa.Array, column: Column) -> tuple[pa.Array, list[Wrong]]:
    """Encoded pictures, or pixels in fixed-size binary, as the latter; null where there are none, and why not."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind, size = cells.type, math.prod(column.shape)
    fixed = pa.types.is_fixed_size_binary(kind)
    if fixed and kind.byte_width == size:
        return cells, []
    if _is_bytes(kind) and not fixed:
        return images.decoded((c.as_py() for c in cells), len(cells), column)
    reason = f"not {column.width}×{column.height} pixels" if fixed else images.NO_PICTURE
    return pa.nulls(len(cells), pa.binary(size)), [(reason, np.asarray(cells.is_valid()))]


def numbers(cells: pa.Array, decimal: str = ".") -> tuple[pa.Array, list[Wrong]]:
    """Cells as float64, null where they hold none, and the masks of those that hold something else."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.dictionary_decode()
        kind = cells.type
    wrong: list[Wrong] = []
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        floats, wrong = _parsed(pc.replace_substring(cells, ",", ".") if decimal == "," else cells)
    elif (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ) or kind == pa.null():
        floats = cells.cast(pa.float64(), safe=False)
    else:
        return _one_by_one(cells.to_pylist())
    dense = floats.to_numpy(zero_copy_only=False)  # null becomes NaN
    if (
        len(dense) and -FLOAT32_MAX <= dense.min() <= dense.max() <= FLOAT32_MAX
    ):  # the common case; false where one is NaN
        return floats, wrong
    infinite = np.abs(dense) > FLOAT32_MAX
    if infinite.any():
        wrong = [*wrong, ("not finite", infinite)]
    return pa.array(np.where(infinite, np.nan, dense), from_pandas=True), wrong


def _parsed(cells: pa.Array) -> tuple[pa.Array, list[Wrong]]:
    """Text as float64: all at once where every cell is a number, else the strange ones singly."""
    try:
        floats = cells.cast(pa.float64())
        if not pc.any(
            pc.is_nan(floats)
        ).as_py():  # `nan` is a missing value, `nan(1)` is none: let the strict way decide
            return floats, []
    except pa.ArrowInvalid:
        pass
    trimmed = texts(cells)
    plain = pc.match_substring_regex(trimmed, _PLAIN_NUMBER)
    floats = pc.if_else(plain, trimmed, None).cast(pa.float64())
    strange = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(plain), False)))
    if not len(strange):
        return floats, []
    values, singly = _one_by_one(trimmed.take(pa.array(strange)).to_pylist())
    filled = floats.to_numpy(zero_copy_only=False).copy()
    filled[strange] = values.to_numpy(zero_copy_only=False)
    wrong = []
    for reason, mask in singly:
        where = np.zeros(len(cells), bool)
        where[strange[mask]] = True
        wrong.append((reason, where))
    return pa.array(filled, from_pandas=True), wrong


def _one_by_one(cells: Sequence[Any]) -> tuple[pa.Array, list[Wrong]]:
    values = np.full(len(cells), np.nan)
    wrong: dict[str, np.ndarray] = {}
    for i, cell in enumerate(cells):
        try:
            found = number(cell)
        except ValueError as error:
            wrong.setdefault(str(error), np.zeros(len(cells), bool))[i] = True
        else:
            values[i] = np.nan if found is None else found
    return pa.array(values, from_pandas=True), list(wrong.items())


def texts(cells: pa.Array) -> pa.Array:
    """Cells as text, stripped, null where they hold none."""
    if pa.types.is_dictionary(cells.type):
        return texts(cells.dictionary).take(cells.indices)
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return pa.array(
            np.array([text(cell) for cell in cells.to_pylist()], dtype=object), pa.string()
        )
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), _MISSING), None, trimmed)


def categories(cells: pa.Array) -> pa.Array:
    """The same as a dictionary, so that what is done to a value is done once; other types give plain text."""
    if pa.types.is_string(cells.type):
        cells = cells.dictionary_encode()
    if not pa.types.is_dictionary(cells.type):
        return texts(cells)
    said = texts(cells.dictionary)
    return cells if said.equals(cells.dictionary) else said.take(cells.indices)


def _broken(rule: Rule, values: pa.Array) -> np.ndarray | None:
    """The mask of values that break a rule; None, without looking at each, where none can."""
    match rule.kind:
        case "missing":
            if values.null_count == 0:
                return None
            mask = pc.is_null(values)
        case "below":
            if not _beyond(values, rule.bound, -1):
                return None
            mask = pc.less(values, rule.bound)
        case "above":
            if not _beyond(values, rule.bound, 1):
                return None
            mask = pc.greater(values, rule.bound)
        case "unknown":
            allowed = pa.array(np.array(rule.bound, dtype=object), pa.string())
            if pa.types.is_dictionary(values.type):
                known = pc.is_in(values.dictionary, allowed)
                if pc.all(known).as_py():
                    return None
                inside = known.take(values.indices)
            else:
                inside = pc.is_in(values, allowed)
            mask = pc.and_(pc.invert(inside), pc.is_valid(values))
        case "blank":
            return images.blank(values, int(rule.bound))  # type: ignore[arg-type]
    broken: np.ndarray = np.asarray(pc.fill_null(mask, False))
    return broken


def _beyond(values: pa.Array, bound: Any, side: int) -> bool:
    dense = values.to_numpy(zero_copy_only=False)  # null becomes NaN
    extreme = np.fmin if side < 0 else np.fmax
    return bool(len(dense) and (extreme.reduce(dense) - bound) * side > 0)


def reasons_by_row(failures: Iterable[Violation], count: int) -> list[list[str]]:
    """For each of `count` rows, why it is refused; an empty list where it is not."""
    reasons: list[list[str]] = [[] for _ in range(count)]
    for _, reason, mask in failures:
        for i in np.flatnonzero(mask):
            reasons[i].append(reason)
    return reasons


def quarantine_table(batch: Batch, reasons: Sequence[list[str]], source: str) -> pa.Table:
    """The refused rows of a batch as they came, plus `source`, `row` and `reasons`."""
    bad = np.array([bool(r) for r in reasons], bool)
    kept = pa.Table.from_batches([batch.raw]).filter(pa.array(bad))
    kept = kept.rename_columns(given_names(kept.column_names))
    return _with_origin(kept, source, batch.rows[bad], [r for r in reasons if r])


def given_names(header: Sequence[str]) -> list[str]:
    """What the columns of the input are called in a quarantine, which has some names of its own."""
    taken, names = {*header, *ORIGIN.names, RAGGED_LINE}, []
    for column in header:
        name = column
        while name in ORIGIN.names or name == RAGGED_LINE or (name != column and name in taken):
            name += "_given"
        taken.add(name)
        names.append(name)
    return names


def ragged_table(ragged: MalformedRows, source: str) -> pa.Table:
    """The ragged rows, each as the line it was, since its cells cannot be told apart."""
    lines = pa.table({RAGGED_LINE: pa.array(ragged.texts, pa.string())})
    return _with_origin(lines, source, np.array(ragged.rows), [[r] for r in ragged.reasons])


def _with_origin(
    table: pa.Table, source: str, rows: np.ndarray, reasons: list[list[str]]
) -> pa.Table:
    for field, values in zip(ORIGIN, ([source] * table.num_rows, rows, reasons), strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table
