"""ORC files."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.orc

from creche.data.readers.base import Block, BlockPlan, FileReader, numbered


class OrcReader(FileReader):
    """An ORC file."""

    format_name = "ORC"

    def read_header(self, known: list[str] | None) -> list[str]:
        with self.source.open_file() as opened:
            self.schema = pa.orc.ORCFile(opened).schema
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        with self.source.open_file() as opened:
            yield from numbered(self._slices(pa.orc.ORCFile(opened), plan))

    def _slices(self, file: pa.orc.ORCFile, plan: BlockPlan) -> Iterator[pa.RecordBatch]:
        for position in range(file.nstripes):
            stripe = file.read_stripe(position)
            size = stripe.nbytes if plan.image_columns else 0
            block_rows = plan.block_rows(size, stripe.num_rows)
            for start in range(0, stripe.num_rows, block_rows):
                yield stripe.slice(start, block_rows)
