"""Tables in memory."""

from collections.abc import Iterator

import pyarrow as pa

from creche.data.readers.base import Block, BlockPlan, FileReader, numbered
from creche.data.table_source import MemorySource


class MemoryReader(FileReader):
    """An Arrow table."""

    format_name = "Arrow"

    def read_header(self, known: list[str] | None) -> list[str]:
        self.schema = self._table.schema
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        block_rows = plan.block_rows(self._table.nbytes, self._table.num_rows)
        yield from numbered(self._table.to_batches(max_chunksize=block_rows))

    @property
    def _table(self) -> pa.Table:
        assert isinstance(self.source, MemorySource)
        return self.source.table
