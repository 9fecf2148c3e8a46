"""Time and memory of each step of a training by the number of rows:
`python benchmarks/large_tables.py 10000 100000 1000000 10000000`.

The table has 20 columns as CSV: 12 numbers, 6 categories (99 values), an id and the label. Each number
of rows runs in a process of its own, so that its peak memory is its own.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from creche.pipeline import run_step
from creche.project import SOURCE, RunPaths, write_record
from creche.provenance import md5_of
from creche.recipe import load
from creche.records import SourceInfo

STEPS = ("validate", "preprocess", "train", "export", "evaluate", "gate")
CLASSES = ("low", "middle", "high")
BLOCK_ROWS = 1_000_000
MEBIBYTES_OF_KIBIBYTE = 1 / 1024


def write_table(path: Path, rows: int) -> None:
    """Write a table at random, of seed 0, in blocks."""
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK_ROWS):
            block = _block(min(BLOCK_ROWS, rows - start), rows, random)
            options = pyarrow.csv.WriteOptions(include_header=start == 0)
            pyarrow.csv.write_csv(block, file, options)


def _block(rows: int, total: int, random: np.random.Generator) -> pa.Table:
    classes = random.integers(0, len(CLASSES), rows)
    columns: dict[str, pa.Array | np.ndarray] = {}
    for index in range(6):
        columns[f"x{index}"] = np.round(random.normal(0, 1, rows) + 0.7 * classes, 4)
        columns[f"n{index}"] = random.integers(0, 1000, rows)
        values = pa.array([f"value {value}" for value in range(_n_values(index))])
        columns[f"c{index}"] = values.take(pa.array(random.integers(0, len(values), rows)))
    columns["customer"] = random.integers(0, max(total // 5, 1), rows)
    columns["label"] = pa.array(CLASSES).take(pa.array(classes))
    return pa.table(columns)


def _n_values(index: int) -> int:
    return 4 + 5 * index


def write_recipe(path: Path) -> None:
    lines = ["description: a large table", "data: {path: table.csv}", "label: label", "columns:"]
    features = []
    for index in range(6):
        values = ", ".join(f"value {value}" for value in range(_n_values(index)))
        lines.append(f"  x{index}: {{kind: number, min: -1000, max: 1000}}")
        lines.append(f"  n{index}: {{kind: number, min: 0, max: 1000}}")
        lines.append(f"  c{index}: {{kind: category, values: [{values}]}}")
        features.append(f"x{index}: standardize, n{index}: standardize, c{index}: one-hot")
    lines.append("  customer: {kind: text}")
    lines.append(f"  label: {{kind: category, values: [{', '.join(CLASSES)}]}}")
    lines.append(f"features: {{{', '.join(features)}}}")
    lines.append("network: {kind: mlp, hidden: [32]}")
    lines.append("training: {epochs: 2, batch_size: 4096, learning_rate: 0.01}")
    path.write_text("\n".join(lines) + "\n")


def measure(rows: int) -> None:
    """Print CPU seconds and peak memory of each step on a table of so many rows."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_table(root / "table.csv", rows)
        write_recipe(root / "large.yaml")
        recipe = load(str(root / "large.yaml"), root)
        paths = RunPaths(root, root / "var", root / "run")
        version = md5_of(root / "table.csv")
        size = (root / "table.csv").stat().st_size
        write_record(paths / SOURCE, SourceInfo(path="table.csv", version=version, bytes=size))
        for step in STEPS:
            started, started_cpu = time.perf_counter(), _cpu_seconds()
            run_step(step, recipe, paths)
            seconds = time.perf_counter() - started
            print(
                f"{rows:>12,} rows  {step:<10} {seconds:7.1f} s, {_cpu_seconds() - started_cpu:7.1f} "
                f"s of CPU, peak {_peak_mebibytes():6.0f} MiB",
                flush=True,
            )


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_mebibytes() -> float:
    """Return the largest resident memory of one process so far."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * MEBIBYTES_OF_KIBIBYTE


def main(arguments: list[str]) -> None:
    if len(arguments) == 1:
        measure(int(arguments[0]))
        return
    for rows in arguments:
        subprocess.run([sys.executable, __file__, rows], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
