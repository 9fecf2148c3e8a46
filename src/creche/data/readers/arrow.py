"""Arrow IPC files and streams."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from creche.data.readers.base import Block, BlockPlan, FileReader, numbered


class ArrowReader(FileReader):
    """An Arrow file (Feather) or stream."""

    format_name = "Arrow"

    def read_header(self, known: list[str] | None) -> list[str]:
        with self.source.open_file() as file:
            self.schema = _open(file).schema
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        with self.source.open_file() as file:
            yield from numbered(self._slices(_open(file), plan))

    def _slices(self, reader: Any, plan: BlockPlan) -> Iterator[pa.RecordBatch]:
        for batch in _batches(reader):
            size = batch.nbytes if plan.image_columns else 0
            block_rows = plan.block_rows(size, batch.num_rows)
            for start in range(0, batch.num_rows, block_rows):
                yield batch.slice(start, block_rows)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if hasattr(reader, "read_next_batch"):
        yield from reader
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def _open(file: Any) -> Any:
    try:
        return pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file)
