"""Damaged files: each is refused in one sentence, or read to its end; nothing else may happen."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.projects import BIRD, ROOT

from creche.data.table_reader import TableReader
from creche.data.table_source import TableSource
from creche.errors import CrecheError
from creche.recipe import load

CONTRACT = load("penguins", ROOT).contract().subset(BIRD)
ROWS = 200
DAMAGES = 60  # of each format, from a fixed seed
TABLE = pa.table(
    {
        **{name: [cell] * ROWS for name, cell in BIRD.items()},
        "note": [f"note {row}" for row in range(ROWS)],
    }
)


def _write_arrow(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, 50)


def _write_gzip(path: Path) -> None:
    text = pa.BufferOutputStream()
    pa.csv.write_csv(TABLE, text)
    path.write_bytes(gzip.compress(text.getvalue().to_pybytes(), mtime=0))


def _write_json(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=50),
    "x.arrow": _write_arrow,
    "x.csv": lambda path: pa.csv.write_csv(TABLE, path),
    "x.csv.gz": _write_gzip,
    "x.jsonl": _write_json,
}
KNOW_THEIR_ROWS = ("x.parquet", "x.arrow")  # a missing row is noticed


def _damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the content cut short, or with some bytes changed."""
    if chance.random() < 0.2:
        return content[: chance.randrange(len(content))]
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 50])):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_file_is_refused_or_read_to_its_end(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(DAMAGES):
        path.write_bytes(_damaged(content, chance))
        try:
            reader = TableReader(TableSource.local(path), CONTRACT)
            rows = 0
            for block in reader.blocks():
                batch = reader.convert(*block)
                batch.check(CONTRACT)
                rows += len(batch.row_numbers)
        except CrecheError:
            refused += 1
            continue
        assert rows == ROWS or name not in KNOW_THEIR_ROWS
    assert refused > DAMAGES / 4
    assert "Traceback" not in capfd.readouterr().err
