"""JSON: objects in lines, in an array or one after the other, or pandas' `split`; a cell may be of
any type in any row.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from creche.data.readers.base import Block, BlockPlan, FileReader
from creche.data.readers.json_layout import BadRow, JsonRow, layout_of
from creche.errors import DataError


class JsonReader(FileReader):
    """A JSON file."""

    format_name = "JSON"
    has_header = False

    def read_header(self, known: list[str] | None) -> list[str]:
        self._layout = layout_of(self.source)
        if known is not None:
            return known
        listed = self._layout.columns()
        if listed is not None:
            return listed
        names: dict[str, None] = {}
        row_count = 0
        # To its end: a key may show in the last row for the first time.
        for rows in self._layout.rows():
            row_count += len(rows)
            for row in rows:
                if not isinstance(row, BadRow):
                    names.update(dict.fromkeys(row))
        if not row_count:
            raise StopIteration
        if not names:
            raise DataError(
                f"{self.source.name}: none of its {row_count:,} rows is a JSON object with a key, "
                'as {"name": "value"}'
            )
        return list(names)

    def blocks(self, plan: BlockPlan) -> Iterator[Block]:
        first_row = 1
        for rows in self._layout.rows():
            yield self._block(rows, first_row, plan)
            first_row += len(rows)

    def _block(self, rows: Sequence[JsonRow], first_row: int, plan: BlockPlan) -> Block:
        records = []
        row_numbers = []
        for row_number, row in enumerate(rows, first_row):
            if isinstance(row, BadRow):
                self.malformed.add(row_number, row.text, row.reason)
                continue
            records.append(row)
            row_numbers.append(row_number)
        columns = []
        try:
            for name in self.header:
                values = [record.get(name) for record in records]
                columns.append(_as_texts(values, name in plan.comma_names))
        except RecursionError:
            raise DataError(
                f"{self.source.name}: a value is nested too deeply to be read"
            ) from None
        cells = pa.RecordBatch.from_arrays(columns, names=self.header)
        return Block(np.array(row_numbers, np.int64), cells)


def _as_texts(values: list[Any], has_comma: bool) -> pa.Array:
    """Return JSON values as text, since one column may hold several types; null where there is
    none.

    Args:
        values: of one column.
        has_comma: whether its texts have a decimal comma. JSON's own numbers never have one, so
            they are written with it, to be read as what they are.
    """
    texts = []
    for value in values:
        is_text = value is None or isinstance(value, str)
        text = value if is_text else json.dumps(value)
        if has_comma and isinstance(value, float):
            text = text.replace(".", ",")
        texts.append(text)
    return pa.array(np.array(texts, dtype=object), pa.string())
