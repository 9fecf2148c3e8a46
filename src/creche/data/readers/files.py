"""The files of a folder that are one table: read in turn, in the order of their names."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from creche.data.plain_types import in_plain_types, plain_schema
from creche.data.readers.base import Block, BlockPlan, FileReader
from creche.data.readers.csv import CsvReader
from creche.data.readers.decimal_mark import COMMA, POINT
from creche.data.readers.errors import refused_rows
from creche.data.table_source import TableSource
from creche.errors import DataError, listed

SHOWN_COLUMNS = 5  # that a message lists


class _Part(NamedTuple):
    """One file of the table."""

    source: TableSource
    reader: FileReader


class FilesReader(FileReader):
    """The files of a folder, each of any format, with the same columns in any order.

    Rows are numbered through all files. `origin` states the file of a row, and its number there.
    """

    format_name = "table"

    def read_header(self, known: list[str] | None) -> list[str]:
        # The package imports this module.
        from creche.data.readers import open_reader

        self._parts: list[_Part] = []
        for source in self.source.parts:
            if source.size() == 0:
                raise DataError(f"{source.name} is empty: not even a header")
            self._parts.append(_Part(source, open_reader(source)))
        self._starts: list[int] = []  # of each file that was begun, the rows before it
        header = self._common_header()
        self.schema = self._common_schema(header)
        return header

    def _common_header(self) -> list[str]:
        """Return the columns of all files, in the order of the first one.

        Raises:
            DataError: one has others.
        """
        first = self._parts[0]
        header = _columns(first)
        for part in self._parts[1:]:
            columns = _columns(part)
            if part.reader.format_name == first.reader.format_name == "JSON":
                # An object of JSON leaves out what it has no value for.
                header += [name for name in columns if name not in header]
            elif sorted(columns) != sorted(header):
                raise DataError(_other_columns(first.source, header, part.source, columns))
        for part in self._parts:
            if part.reader.format_name == "JSON":
                part.reader.header = [name for name in header if name not in part.source.keys]
        return header

    def _common_schema(self, header: list[str]) -> pa.Schema:
        """Return the types of the columns, of which each file's own can be converted to.

        Raises:
            DataError: a column has types in two files of which neither holds the other.
        """
        fields: dict[str, pa.Field] = {}
        for part in self._parts:
            schema = plain_schema(part.reader.schema)
            for name in header:
                own = schema.field(name) if name in schema.names else pa.field(name, pa.string())
                own = pa.field(name, _value_type(own.type))
                try:
                    merged = pa.unify_schemas(
                        [pa.schema([fields.get(name, own)]), pa.schema([own])],
                        promote_options="permissive",
                    )
                except (pa.ArrowInvalid, pa.ArrowTypeError):
                    raise DataError(
                        f"{part.source.name}: column {name} is {own.type} there and "
                        f"{fields[name].type} in the files before it, beginning with "
                        f"{self._parts[0].source.name}: write all with one type"
                    ) from None
                fields[name] = merged.field(0)
        return pa.schema(fields.values())

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        self._find_decimal_mark(plan)
        # Parquet gives each category as a dictionary, and CSV none.
        keeps_dictionaries = all(part.source.format == "parquet" for part in self._parts)
        rows_before = 0
        for part in self._parts:
            self._starts.append(rows_before)
            last_row = 0
            with refused_rows(part.source):
                for row_numbers, cells in part.reader.blocks(plan):
                    if len(row_numbers):
                        last_row = int(row_numbers[-1])
                    cells = self._with_keys(in_plain_types(cells), part.source)
                    cells = self._in_schema(cells, keeps_dictionaries)
                    yield Block(row_numbers + rows_before, cells)
            malformed = part.reader.malformed
            for position, row in enumerate(malformed.row_numbers):
                text, reason = malformed.texts[position], malformed.reasons[position]
                self.malformed.add(row + rows_before, text, reason)
            rows_before += max([last_row, *malformed.row_numbers])

    def _with_keys(self, cells: pa.RecordBatch, source: TableSource) -> pa.RecordBatch:
        for key, value in source.keys.items():
            if key not in cells.schema.names:
                values = pa.repeat(pa.scalar(value, pa.string()), cells.num_rows)
                cells = cells.append_column(key, values)
        return cells

    def _in_schema(self, cells: pa.RecordBatch, keeps_dictionaries: bool) -> pa.RecordBatch:
        """Return a block with the columns and types of the table."""
        columns = []
        for field in self.schema:
            column = cells.column(field.name)
            is_dictionary = pa.types.is_dictionary(column.type)
            if column.type != field.type and not (is_dictionary and keeps_dictionaries):
                column = column.cast(field.type)
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, names=self.schema.names)

    def _find_decimal_mark(self, plan: BlockPlan) -> None:
        """Find out the one mark that the numbers of all files have.

        Raises:
            DataError: some have a decimal point, and some a decimal comma.
        """
        readers = [part.reader for part in self._parts if isinstance(part.reader, CsvReader)]
        has_comma = [reader.may_have_decimal_comma() for reader in readers]
        with_comma: str | None = None  # name of a file
        with_point: str | None = None
        for reader in readers if any(has_comma) else []:
            marks = reader.find_marks(plan.unmarked_names)
            separates_cells = reader.head.separator == COMMA
            if not separates_cells and marks.decide(reader.source.name) == COMMA:
                with_comma = with_comma or reader.source.name
            elif separates_cells or marks.point is not None:
                with_point = with_point or reader.source.name
        if with_point is not None and with_comma is not None:
            raise DataError(
                f"{with_comma} has decimal commas, and {with_point} decimal points: state "
                "`decimal_mark` of the columns in the recipe, or write both with one mark"
            )
        self.decimal_mark = POINT if with_comma is None else COMMA
        for reader in readers:
            reader.known_mark = self.decimal_mark

    def origin(self, row_number: int) -> tuple[str, int]:
        position = bisect_right(self._starts, row_number - 1) - 1
        return self._parts[position].source.name, row_number - self._starts[position]

    @property
    def origins(self) -> list[str]:
        return [part.source.name for part in self._parts]


def _columns(part: _Part) -> list[str]:
    """Return the columns of a file, and the keys of its path that are no columns of it."""
    own = part.reader.header
    return [*own, *(key for key in part.source.keys if key not in own)]


def _value_type(arrow_type: pa.DataType) -> pa.DataType:
    return arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type


def _other_columns(
    first: TableSource, header: list[str], other: TableSource, columns: list[str]
) -> str:
    """Return how the columns of a file differ from those of the first one."""
    differences = []
    lacking = [name for name in header if name not in columns]
    if lacking:
        differences.append(f"lacks {listed(lacking, SHOWN_COLUMNS)}")
    added = [name for name in columns if name not in header]
    if added:
        differences.append(f"has {listed(added, SHOWN_COLUMNS)} besides")
    difference = " and ".join(differences) or "names a column twice"
    return (
        f"{other.name} has other columns than {first.name}, and a folder is one table: it "
        f"{difference}; write both with the same columns, or name one file as data.path"
    )
