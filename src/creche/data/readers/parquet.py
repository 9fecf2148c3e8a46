"""Parquet files."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet

from creche.data.readers.base import Block, BlockPlan, FileReader, numbered


class ParquetReader(FileReader):
    """A Parquet file."""

    format_name = "Parquet"

    def read_header(self, known: list[str] | None) -> list[str]:
        with self.source.open_file() as file:
            self.schema = pa.parquet.read_schema(file)
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        dictionary_names = []
        for field in self.schema:
            if field.name in plan.category_names and pa.types.is_string(field.type):
                dictionary_names.append(field.name)
        with self.source.open_file() as opened:
            file = pa.parquet.ParquetFile(
                opened,
                read_dictionary=dictionary_names,
                # With pre-buffering, Arrow keeps all that it has read.
                pre_buffer=False,
                # Of the pages that have a checksum; it costs nothing where none has.
                page_checksum_verification=True,
            )
            size = self.source.size() if plan.image_columns else 0
            block_rows = plan.block_rows(size, file.metadata.num_rows)
            yield from numbered(file.iter_batches(batch_size=block_rows))
