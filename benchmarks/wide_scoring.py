"""Throughput of `creche score` by the number of columns: `python benchmarks/wide_scoring.py 4 20 200`.

For each number of columns, a model of as many numbers is trained for one epoch and scores a Parquet
file of ROWS rows, as a whole process. The reference is bare reading and writing of the same file by
pyarrow in the same run; the ratio is its time over ours, medians of REPEATS.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from creche.pipeline import run_step
from creche.project import MODEL, ProjectPaths
from creche.provenance import md5_of
from creche.recipe import load

CELLS = 40_000_000  # of the scored file, so that each takes seconds
MAX_ROWS = 4_000_000
TRAINING_ROWS = 2000
REPEATS = 3


def write_table(path: Path, rows: int, columns: int) -> None:
    """Write numbers at random, of seed 0, and a label that the first one decides."""
    random = np.random.default_rng(0)
    numbers = {}
    for index in range(columns):
        numbers[f"x{index}"] = random.normal(0, 1, rows).astype(np.float32)
    label = np.where(numbers["x0"] > 0, "high", "low")
    pq.write_table(pa.table({**numbers, "label": pa.array(label.tolist())}), path)


def train(root: Path, columns: int) -> Path:
    """Train a model of the columns, and return its file."""
    table = root / "training.parquet"
    write_table(table, TRAINING_ROWS, columns)
    recipe = {
        "description": "which numbers are high",
        "data": {"path": table.name, "md5": md5_of(table)},
        "columns": {"x*": {"kind": "number"}, "label": {"kind": "category", "values": ["high", "low"]}},
        "label": "label",
        "features": {"x*": "standardize"},
        "network": {"hidden": [64, 32]},
        "training": {"epochs": 1},
    }  # fmt: skip
    (root / "recipes").mkdir()
    (root / "recipes/wide.yaml").write_text(yaml.safe_dump(recipe))
    paths = ProjectPaths(root, root / "var").at(root / "run")
    for step in ("pull", "validate", "preprocess", "train", "export"):
        run_step(step, load("wide", root), paths)
    return paths / MODEL


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - started


def measure(columns: int, root: Path) -> str:
    """Return a row of the table of results."""
    rows = min(MAX_ROWS, CELLS // columns)
    model = train(root, columns)
    file = root / "new.parquet"
    write_table(file, rows, columns)
    copy = (
        "import sys, pyarrow.parquet as p; f = p.ParquetFile(sys.argv[1]); "
        "w = p.ParquetWriter(sys.argv[2], f.schema_arrow); "
        "[w.write_batch(b) for b in f.iter_batches(65536)]; w.close()"
    )
    score = [
        "-m",
        "creche.cli",
        "score",
        str(file),
        "--model",
        str(model),
        "--out",
        str(root / "out"),
    ]
    ours, bare = [], []
    for _ in range(REPEATS):
        bare.append(seconds_of([sys.executable, "-c", copy, str(file), str(root / "copy.parquet")]))
        ours.append(seconds_of([sys.executable, *score]))
    own, reference = statistics.median(ours), statistics.median(bare)
    return (
        f"{columns:>4} columns, {rows:>9,} rows: {own:6.2f} s, {rows / own / 1e6:.2f} M rows/s, "
        f"bare reading and writing {reference / own:.2f} of it"
    )


def main() -> None:
    for columns in [int(argument) for argument in sys.argv[1:]] or [4, 20, 200]:
        with tempfile.TemporaryDirectory() as name:
            print(measure(columns, Path(name)), flush=True)


if __name__ == "__main__":
    main()
