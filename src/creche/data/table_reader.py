"""Read one table under a contract: blocks of rows become batches of canonical columns.

Cells of CSV and JSON lines are read as text, and the contract alone decides what they hold.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import Column, Contract
from creche.contract.arrow_cells import CellFormat, ConversionError, is_binary
from creche.contract.images import MAX_FILE_BYTES, decode_all
from creche.data.batch import Batch, Violation
from creche.data.plain_types import in_plain_types, plain_schema
from creche.data.quarantine import quarantine_names
from creche.data.readers import Block, BlockPlan, MalformedRows, open_reader
from creche.data.readers.errors import refused_rows
from creche.data.readers.images import IMAGE
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError

TEXT_FORMATS = ("csv", "json")


class TableReader:
    """One file of observations under a contract, readable once, in blocks.

    Attributes:
        header: the names of all columns, with the keys of a Hive path behind those of the file.
        resolved: canonical name → name in the file, for each column of the contract that it has.
        unit_factors: canonical name → factor for its numbers.

    Raises:
        DataError: the file is missing, empty, not UTF-8, cut short, or no table.
        ContractError: a required column is missing, or the header has one twice.
    """

    def __init__(
        self, source: TableSource, contract: Contract, header: list[str] | None = None
    ) -> None:
        """Open the file and resolve its header.

        Args:
            header: the one of an earlier reader of the same file, so that it is not read again.
        """
        self.source = source
        self.name = source.name
        if not source.collection and source.size() == 0:
            raise DataError(f"{self.name} is empty: not even a header")
        self.reader = open_reader(source, header)
        self.schema = plain_schema(self.reader.schema)
        self.header = self._full_header()
        self.resolved = contract.resolve(self.header, self.name)
        columns_in_file = {}
        for name, column in contract.columns.items():
            if name in self.resolved:
                columns_in_file[name] = column
        self.contract = Contract(columns_in_file).with_row_rules(contract.row_rules)
        self._check_row_rules(contract)
        self.images = self.contract.image_columns
        self._check_images()
        if source.format == "images":
            self.header.remove(IMAGE)  # read where the blocks are converted
        self.unit_factors = {}
        for name, header_name in self.resolved.items():
            self.unit_factors[name] = contract.unit_factor(name, header_name)

    def _check_row_rules(self, contract: Contract) -> None:
        """Check that the table has the columns of every rule."""
        for rule in contract.row_rules:
            for name in rule.columns:
                if name not in self.resolved:
                    raise ContractError(
                        f"{self.name}: missing column {name}, which the rule '{rule.check}' uses: "
                        "add the column, or remove the rule"
                    )

    def _full_header(self) -> list[str]:
        own_names = self.reader.header
        for name, count in Counter(own_names).items():
            if count > 1:
                raise ContractError(
                    f"{self.name}: the header names '{name}' twice: keep one of them"
                )
        # A key of the path is one more column, unless the file has it too.
        keys = [key for key in self.source.keys if key not in own_names]
        return [*own_names, *keys]

    def _check_images(self) -> None:
        if self.images and self.source.format in TEXT_FORMATS:
            first = next(iter(self.images))
            raise ContractError(
                f"{self.name}: cells of text hold no images, as {first} must: give a folder of "
                "images, or Parquet with a column of their bytes"
            )

    @property
    def malformed(self) -> MalformedRows:
        """Rows that are none of the table: with another number of cells, of lines that a quote
        joins, or of JSON that is no object; complete when all blocks were read.
        """
        return self.reader.malformed

    @property
    def renamed(self) -> dict[str, str]:
        """Name in the file → canonical name and unit factor, where the two names differ."""
        renamed = {}
        for name, header_name in self.resolved.items():
            if header_name == name:
                continue
            factor = self.unit_factors[name]
            conversion = f" (× {factor:g})" if factor != 1 else ""
            renamed[header_name] = name + conversion
        return renamed

    @property
    def ignored(self) -> list[str]:
        """Columns that the contract does not name."""
        used = set(self.resolved.values())
        return [name for name in self.header if name not in used]

    @property
    def quarantined_as(self) -> dict[str, str]:
        """Canonical name → its column in a quarantine, for those that have one there."""
        by_header_name = dict(zip(self.header, quarantine_names(self.header), strict=True))
        columns = {}
        for name, header_name in self.resolved.items():
            if header_name in by_header_name:
                columns[name] = by_header_name[header_name]
        return columns

    @property
    def quarantine_schema(self) -> pa.Schema:
        """The file's columns as a quarantine has them: bytes as bytes, all else as text."""
        binary_names = {field.name for field in self.schema if is_binary(field.type)}
        binary_names.update(self._image_structs())
        fields = []
        for name, own_name in zip(quarantine_names(self.header), self.header, strict=True):
            fields.append((name, pa.binary() if own_name in binary_names else pa.string()))
        return pa.schema(fields)

    def blocks(self) -> Iterator[Block]:
        """Yield row numbers and rows as they were read: the part that only one thread can do."""
        category_names = set()
        unmarked_names = {}
        comma_names = set()
        for name, column in self.contract.columns.items():
            header_name = self.resolved[name]
            if column.type.is_dictionary:
                category_names.add(header_name)
            if not column.type.has_fractions(column):
                continue
            if column.stated_decimal_mark is None:
                unmarked_names[header_name] = column.number_format
            elif column.stated_decimal_mark == ",":
                comma_names.add(header_name)
        plan = BlockPlan(
            self.images, frozenset(category_names), unmarked_names, frozenset(comma_names)
        )
        with refused_rows(self.source):
            for row_numbers, cells in self.reader.blocks(plan):
                yield Block(row_numbers, self._normalized(cells))

    def _normalized(self, cells: pa.RecordBatch) -> pa.RecordBatch:
        """Return a block with its Hive keys, in types that Arrow's functions accept."""
        for key, value in self.source.keys.items():
            if key not in cells.schema.names:
                values = pa.repeat(pa.scalar(value, pa.string()), cells.num_rows)
                cells = cells.append_column(key, values)
        cells = in_plain_types(cells)
        # Images as Hugging Face has them, structs of bytes and path, become the bytes.
        for name in self._image_structs():
            content = pc.struct_field(cells.column(name), "bytes")
            cells = cells.set_column(cells.schema.get_field_index(name), name, content)
        return cells

    def _image_structs(self) -> list[str]:
        image_names = [self.resolved[name] for name in self.images]
        structs = []
        for field in self.schema:
            if field.name in image_names and _is_struct_with_bytes(field.type):
                structs.append(field.name)
        return structs

    def read_all(self) -> Batch:
        """Return all rows as one batch."""
        return self._converted(list(self.blocks()))

    def batches(self, min_rows: int) -> Iterator[Batch]:
        """Yield all rows in batches of at least so many rows, but for the last one.

        A table without rows is one batch.
        """
        waiting: list[Block] = []
        is_first = True
        for block in self.blocks():
            waiting.append(block)
            if sum(len(each.row_numbers) for each in waiting) >= min_rows:
                yield self._converted(waiting)
                waiting = []
                is_first = False
        if waiting or is_first:
            yield self._converted(waiting)

    def _converted(self, blocks: list[Block]) -> Batch:
        if not blocks:
            schema = pa.schema([(name, pa.string()) for name in self.header])
            return self.convert(np.zeros(0, np.int64), pa.RecordBatch.from_pylist([], schema))
        return self.convert(*_joined(blocks))

    def convert(self, row_numbers: np.ndarray, cells: pa.RecordBatch) -> Batch:
        """Convert a block of rows under the contract."""
        values: dict[str, pa.Array] = {}
        conversion_errors: list[Violation] = []
        convertible: dict[str, np.ndarray | None] = {}
        for name, column in self.contract.columns.items():
            values[name], errors = self._convert_column(name, column, cells)
            convertible[name] = None
            if errors:
                error_masks = [mask for _, mask in errors]
                convertible[name] = ~np.logical_or.reduce(error_masks)
            for reason, mask in errors:
                conversion_errors.append(Violation(name, f"{name}: {reason}", mask))
        return Batch(row_numbers, cells, values, conversion_errors, convertible)

    def _convert_column(
        self, name: str, column: Column, cells: pa.RecordBatch
    ) -> tuple[pa.Array, list[ConversionError]]:
        if column.type.is_image and self.source.format == "images":
            contents = map(self._read_image, cells.column("path").to_pylist())
            return decode_all(contents, cells.num_rows, column)
        own_cells = cells.column(self.resolved[name])
        cell_format = self.cell_format(column, self.unit_factors[name])
        return column.type.convert(own_cells, column, cell_format)

    def cell_format(self, column: Column, unit_factor: float) -> CellFormat:
        """Return how the cells of a column are to be read; known when the first block was read."""
        return CellFormat(
            missing=column.missing_spellings,
            decimal_mark=column.stated_decimal_mark or self.reader.decimal_mark,
            unit_factor=unit_factor,
            number_format=column.number_format,
        )

    def _read_image(self, file: str) -> bytes:
        try:
            with self.source.open_file(f"{self.source.path}/{file}") as opened:
                # Arrow allocates the requested size, however short the file is.
                return bytes(opened.read(min(opened.size(), MAX_FILE_BYTES + 1)))
        except OSError as error:
            raise DataError(f"{self.name}/{file} cannot be read: {error}") from None


def _joined(blocks: list[Block]) -> Block:
    """Return consecutive blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    table = pa.Table.from_batches([block.cells for block in blocks])
    columns = []
    for column in table.columns:
        if column.type == pa.binary():  # more than 2 GB of images
            column = column.cast(pa.large_binary())
        columns.append(column.combine_chunks())
    row_numbers = np.concatenate([block.row_numbers for block in blocks])
    return Block(row_numbers, pa.RecordBatch.from_arrays(columns, names=table.column_names))


def _is_struct_with_bytes(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_struct(arrow_type) and arrow_type.get_field_index("bytes") >= 0)
