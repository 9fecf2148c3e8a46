"""Delta Lake tables: the rows of the current files, in the order of the files' paths."""

from collections.abc import Iterator

import pyarrow as pa

from creche.data.delta_tables import fragments, open_table
from creche.data.readers.base import Block, BlockPlan, FileReader, numbered


class DeltaReader(FileReader):
    """One version of a Delta Lake table, with the columns that it is partitioned by."""

    format_name = "Delta Lake"

    def read_header(self, known: list[str] | None) -> list[str]:
        source = self.source
        self._table = open_table(source.path, source.name, source.delta_version)
        self.schema = self._table.to_pyarrow_dataset().schema
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        size = self.source.size() if plan.image_columns else 0
        block_rows = plan.block_rows(size)
        yield from numbered(self._batches(block_rows))

    def _batches(self, block_rows: int) -> Iterator[pa.RecordBatch]:
        for fragment in fragments(self._table, self.source.name):
            yield from fragment.to_batches(
                schema=self.schema, batch_size=block_rows, use_threads=False
            )
