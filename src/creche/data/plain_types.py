"""Arrow types that the functions of Arrow and its Parquet writer take, in place of those that they
do not.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema that a block of this schema has in plain types.

    A block whose dictionary holds null has another one: that column is decoded.
    """
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def in_plain_types(cells: pa.RecordBatch) -> pa.RecordBatch:
    """Return a block with its columns in plain types, and dictionaries that hold null decoded."""
    fields = []
    columns = []
    is_changed = False
    for field, column in zip(cells.schema, cells.columns, strict=True):
        plain = _plain_column(column)
        columns.append(plain)
        if plain is column:
            fields.append(field)
        else:
            fields.append(pa.field(field.name, plain.type))
            is_changed = True
    if not is_changed:
        return cells
    # One new block: a replacement of each column would copy the others' list every time.
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _plain_type(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(arrow_type):
        return pa.string()
    if pa.types.is_binary_view(arrow_type):
        return pa.binary()
    if pa.types.is_run_end_encoded(arrow_type):
        return _plain_type(arrow_type.value_type)
    if pa.types.is_dictionary(arrow_type) and not _has_plain_values(arrow_type):
        return _plain_type(arrow_type.value_type)
    return pa.string() if _is_only_printable(arrow_type) else arrow_type


def _has_plain_values(dictionary_type: pa.DataType) -> bool:
    value_type = dictionary_type.value_type
    return not pa.types.is_nested(value_type) and _plain_type(value_type) == value_type


def _is_only_printable(arrow_type: pa.DataType) -> bool:
    """Whether a type, or one inside it, can be written as text alone."""
    if pa.types.is_union(arrow_type) or pa.types.is_interval(arrow_type):
        return True
    if pa.types.is_run_end_encoded(arrow_type):
        return True
    fields = range(arrow_type.num_fields) if pa.types.is_nested(arrow_type) else ()
    return any(_is_only_printable(arrow_type.field(i).type) for i in fields)


def _plain_column(column: pa.Array) -> pa.Array:
    arrow_type = column.type
    if pa.types.is_run_end_encoded(arrow_type):
        return _plain_column(pc.run_end_decode(column))
    if pa.types.is_dictionary(arrow_type):
        is_plain = not column.dictionary.null_count and _has_plain_values(arrow_type)
        return column if is_plain else _plain_column(_decoded(column))
    plain_type = _plain_type(arrow_type)
    if plain_type == arrow_type:
        return column
    if _is_only_printable(arrow_type):
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.array(np.array(texts, dtype=object), pa.string())
    return column.cast(plain_type)


def _decoded(column: pa.Array) -> pa.Array:
    return _plain_column(column.dictionary).take(column.indices)
