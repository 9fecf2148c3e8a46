"""A column that the model does not use may be of any Arrow type: its rows come back all the same."""

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.projects import BIRD

from creche.data.sources import find_sources
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource
from creche.model.artifact import Model
from creche.scoring.batch import score
from creche.scoring.writer import OutputFormat

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
DURATION = datetime.timedelta(days=1, seconds=2)
VALUES = pa.array([1, 2, 3], pa.int32())


def _dense_union() -> pa.Array:
    types = pa.array([0, 1, 0], pa.int8())
    offsets = pa.array([0, 0, 1], pa.int32())
    return pa.UnionArray.from_dense(types, offsets, [pa.array([1, 2]), pa.array(["a"])])


ARRAYS: dict[str, Any] = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "half": pa.array([1.5, None, 2.5], pa.float16()),
    "decimal32": pa.array([Decimal("1.5"), None, Decimal("2")], pa.decimal32(5, 1)),
    "decimal256": pa.array([Decimal("1.5"), None, Decimal("2")], pa.decimal256(70, 1)),
    "date32": pa.array([MOMENT.date(), None, MOMENT.date()]),
    "date64": pa.array([MOMENT.date(), None, MOMENT.date()], pa.date64()),
    "time": pa.array([MOMENT.time(), None, MOMENT.time()]),
    "time of nanoseconds": pa.array([1, None, 3], pa.time64("ns")),
    "moment": pa.array([MOMENT, None, MOMENT], pa.timestamp("ns", "Europe/Berlin")),
    "local moment": pa.array([1, None, 3], pa.timestamp("s")),
    "duration": pa.array([DURATION, None, DURATION]),
    "interval": pa.array(
        [pa.MonthDayNano([1, 2, 3]), None, pa.MonthDayNano([0, 0, 1])], pa.month_day_nano_interval()
    ),
    "binary": pa.array([b"a", None, b"\xff"]),
    "large binary": pa.array([b"a", None, b"\xff"], pa.large_binary()),
    "fixed binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "string view": pa.array(["a", None, "b"], pa.string_view()),
    "binary view": pa.array([b"a", None, b"b"], pa.binary_view()),
    "large string": pa.array(["a", None, "b"], pa.large_string()),
    "list": pa.array([[1], None, []]),
    "large list": pa.array([[1], None, []], pa.large_list(pa.int64())),
    "list view": pa.array([[1], None, []], pa.list_view(pa.int64())),
    "fixed list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": 1}, None, {"a": 2}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary of numbers": pa.array([1.5, None, 2.5]).dictionary_encode(),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int8()), pa.array(["a", "b"], pa.string_view())
    ),
    "dictionary of lists": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int8()), pa.array([[1], [2]])
    ),
    "run ends": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), VALUES[:2]),
    "run ends of text": pa.RunEndEncodedArray.from_arrays(
        pa.array([1, 3], pa.int32()), pa.array(["a", None])
    ),
    "dense union": _dense_union(),
    "sparse union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    ),
    "uuid": pa.array([uuid.UUID(int=1).bytes, None, uuid.UUID(int=2).bytes], pa.uuid()),
    "json": pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(["1", None, "{}"])),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None, 0], pa.int8())),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int32(), (2,)),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
    ),
}


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_unused_columns_of_all_types_come_back(
    model: Model, tmp_path: Path, output_format: OutputFormat
) -> None:
    columns: dict[str, Any] = {name: [cell] * 3 for name, cell in BIRD.items()}
    # The last row is quarantined, so that the quarantine has the columns too.
    columns["island"] = ["Dream", "Dream", "Mars"]
    _write_arrow(pa.table({**columns, **ARRAYS}), tmp_path / "x.arrow")
    manifest = score(
        find_sources([f"{tmp_path}/x.arrow"]), model, "1", tmp_path / "out", output_format
    )
    assert (manifest.rows, manifest.scored, manifest.quarantined) == (3, 2, 1)


def test_unused_columns_of_all_types_come_back_where_there_is_no_row(
    model: Model, tmp_path: Path
) -> None:
    columns = {name: pa.array([], pa.string()) for name in BIRD}
    empty = {name: array[:0] for name, array in ARRAYS.items()}
    _write_arrow(pa.table({**columns, **empty}), tmp_path / "in/x.arrow")
    (tmp_path / "in/y.csv").write_text(",".join(BIRD) + "\n" + ",".join(BIRD.values()) + "\n")
    assert score(find_sources([f"{tmp_path}/in"]), model, "1", tmp_path / "out").scored == 1


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", ["island", "body_mass_g"])
def test_feature_of_any_type_is_converted_or_its_rows_are_violations(
    model: Model, name: str, kind: str
) -> None:
    columns: dict[str, Any] = {feature: [cell] * 3 for feature, cell in BIRD.items()}
    table = pa.table({**columns, name: ARRAYS[kind]})
    reader = TableReader(MemorySource.of(table, "x"), model.contract)
    blocks = list(reader.blocks())
    batch = reader.convert(*blocks[0])
    violations = batch.check(model.contract)
    is_refused = np.logical_or.reduce([violation.mask for violation in violations])
    assert is_refused.all() or kind in ("uint64", "run ends")


def _write_arrow(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
