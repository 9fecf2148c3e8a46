"""Tables of pandas, polars and pyarrow: read as Arrow, and given back as the same kind."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import pyarrow as pa

from creche.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Frame = TypeVar("Frame")
KINDS = "a pandas or polars DataFrame, or a pyarrow Table"


def library_of(frame: object) -> str:
    """Return `pandas`, `polars` or `pyarrow`.

    Raises:
        UsageError: it is a table of neither.
    """
    if isinstance(frame, pa.Table):
        return "pyarrow"
    for library in ("pandas", "polars"):
        is_of_library = type(frame).__module__.partition(".")[0] == library
        if is_of_library and type(frame).__name__ == "DataFrame":
            return library
    raise UsageError(f"predict takes {KINDS}, not a {type(frame).__name__}")


def to_arrow(frame: object) -> pa.Table:
    """Return a frame as an Arrow table, without its index.

    Raises:
        DataError: two columns have one name.
        UsageError: it is no table that is known here.
    """
    library = library_of(frame)
    if library == "pyarrow":
        return frame
    if library == "polars":
        return cast("pl.DataFrame", frame).to_arrow()
    return _from_pandas(cast("pd.DataFrame", frame))


def _from_pandas(frame: "pd.DataFrame") -> pa.Table:
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the table has two columns '{twice}': rename one")
    arrays = [_whole(_to_array(frame.iloc[:, position])) for position in range(len(names))]
    return pa.table(arrays, names=names)


def _to_array(cells: "pd.Series") -> "pa.Array | pa.ChunkedArray":
    """Return a column; cells of several types, such as 3 and "n/a", as text, as from a file."""
    try:
        array = pa.array(cells, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return _as_texts(cells)
    is_numeric = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    # Arrow takes a boolean among numbers for 0 or 1.
    if cells.dtype == object and is_numeric and any(isinstance(c, bool | np.bool_) for c in cells):
        return _as_texts(cells)
    return array


def _as_texts(cells: "pd.Series") -> pa.Array:
    return pa.array(cells.astype("string"), pa.string(), from_pandas=True)


def _whole(array: "pa.Array | pa.ChunkedArray") -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        return array.combine_chunks()
    return array


def with_columns(frame: Frame, columns: Mapping[str, pa.ChunkedArray]) -> Frame:
    """Return the frame with further columns, as a table of the same library.

    Args:
        frame: it is not changed; an index of pandas stays.
        columns: name → values, one for each row of the frame.
    """
    library = library_of(frame)
    if library == "pyarrow":
        table = cast(pa.Table, frame)
        for name, values in columns.items():
            table = table.append_column(name, values)
        return cast(Frame, table)
    added = pa.table(dict(columns))
    if library == "polars":
        import polars

        new_columns = cast("pl.DataFrame", polars.from_arrow(added)).get_columns()
        return cast(Frame, cast("pl.DataFrame", frame).with_columns(new_columns))
    data = cast("pd.DataFrame", frame)
    new_frame = added.to_pandas()
    new_frame.index = data.index
    return cast(Frame, data.assign(**{name: new_frame[name] for name in columns}))
