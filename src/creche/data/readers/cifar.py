"""CIFAR-10, its official binary version (Krizhevsky, 2009)."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from creche.contract.images import as_column
from creche.data.readers.base import Block, BlockPlan, FileReader, numbered
from creche.errors import DataError

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
PIXEL_BYTES = 3 * 32 * 32  # the planes of red, green and blue
RECORD_BYTES = 1 + PIXEL_BYTES  # the label, then the planes


class CifarReader(FileReader):
    """The files of CIFAR-10: columns `image`, `label`, and `part` (train or test)."""

    format_name = "cifar"

    def read_header(self, known: list[str] | None) -> list[str]:
        self.schema = pa.schema(
            [("image", pa.binary(PIXEL_BYTES)), ("label", pa.string()), ("part", pa.string())]
        )
        return list(self.schema.names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        return numbered(self._batches(plan))

    def _batches(self, plan: BlockPlan) -> Iterator[pa.RecordBatch]:
        # A label outside the ten classes is shown as its number, and the contract refuses it.
        names_by_byte = [*CIFAR_CLASSES, *map(str, range(len(CIFAR_CLASSES), 256))]
        label_names = pa.array(np.array(names_by_byte, dtype=object), pa.string())
        block_bytes = plan.block_rows() * RECORD_BYTES
        for file, file_path in zip(self.source.files, self.source.file_paths, strict=True):
            is_test = PurePosixPath(file).name.startswith("test")
            part = "test" if is_test else "train"
            with self.source.open_file(file_path) as opened:
                while block := opened.read(block_bytes):
                    yield self._batch(block, part, file_path, label_names)

    def _batch(
        self, block: bytes, part: str, file_path: str, label_names: pa.Array
    ) -> pa.RecordBatch:
        if len(block) % RECORD_BYTES:
            raise DataError(
                f"{file_path} is no file of CIFAR-10: its size is no multiple of {RECORD_BYTES} "
                "bytes"
            )
        records = np.frombuffer(block, np.uint8).reshape(-1, RECORD_BYTES)
        planes = records[:, 1:].reshape(-1, 3, 32, 32)
        pixels = as_column(planes.transpose(0, 2, 3, 1))
        labels = label_names.take(pa.array(records[:, 0]))
        parts = pa.array([part] * len(records), pa.string())
        return pa.RecordBatch.from_arrays([pixels, labels, parts], schema=self.schema)
