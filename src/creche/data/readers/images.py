"""Images, each a row with its path and its folder."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from creche.data.readers.base import Block, BlockPlan, FileReader

IMAGE = "image"  # the column of the images, which is read where blocks are converted


class ImageFilesReader(FileReader):
    """A folder of images: columns `path`, `image`, and `folder` where it has subfolders."""

    format_name = "images"

    def read_header(self, known: list[str] | None) -> list[str]:
        names = ["path"]
        if any("/" in file for file in self.source.files):
            names.append("folder")
        self.schema = pa.schema([(name, pa.string()) for name in names])
        return [*names, IMAGE]

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        block_rows = plan.block_rows()
        for start in range(0, len(self.source.files), block_rows):
            files = self.source.files[start : start + block_rows]
            cells = {
                "path": files,
                "folder": [PurePosixPath(file).parent.name or None for file in files],
            }
            columns = []
            for name in self.schema.names:
                columns.append(pa.array(np.array(cells[name], dtype=object), pa.string()))
            row_numbers = np.arange(start + 1, start + 1 + len(files))
            yield Block(row_numbers, pa.RecordBatch.from_arrays(columns, schema=self.schema))
