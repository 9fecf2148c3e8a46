"""The scoring engine against the bare reading and writing of the same files, in one run, in turn.

usage: python benchmarks/scoring.py [ROWS] [TRIALS]

ROWS observations are made from the penguins with noise and written as Parquet and CSV. The floor reads the same file and
writes the same columns with the same writer settings on a thread of its own: no model, no checks, typed CSV reading.
`bare` is the floor with the model's answers in place of drawn ones, on two threads: what no engine around this model can
pass by much, since it checks nothing, quarantines nothing, keeps no cell as it came and digests no input. All write
Parquet. Each is a process of its own; seconds are of the work, imports and model loading left out. Also printed: whole
processes, and the peak memory of scoring.

Needs a champion: `make run` first.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
NUMBERS = {"bill_length_mm": (0.5, 26, 74), "bill_depth_mm": (0.2, 11, 26), "flipper_length_mm": (2, 141, 269),
           "body_mass_g": (50, 2001, 7999)}  # standard deviation of the noise, and limits  # fmt: skip


def make(rows: int, stem: Path) -> None:
    chance = np.random.default_rng(0)
    birds = pd.read_csv(ROOT / "data/penguins.csv").dropna(subset=list(NUMBERS))
    drawn = chance.integers(0, len(birds), rows)
    columns = {
        "observation": np.arange(rows),
        "island": pa.array(birds["island"].to_numpy(object)[drawn]),
    }
    for name, (spread, low, high) in NUMBERS.items():
        columns[name] = np.round(
            np.clip(birds[name].to_numpy()[drawn] + chance.normal(0, spread, rows), low, high), 1
        )
    table = pa.table(columns)
    pq.write_table(
        table, stem.with_suffix(".parquet"), row_group_size=131_072
    )  # Spark splits by them
    pa.csv.write_csv(table, stem.with_suffix(".csv"))


Answer = Callable[[pa.RecordBatch], list[pa.Array]]


def floor(source: str, out: str) -> None:
    """Read and write, a thread each; the answers are drawn once and written again and again."""
    chance, size = np.random.default_rng(0), 200_000
    probabilities, ood_score = chance.random((3, size), np.float32), chance.random(size, np.float32)
    species = pa.array(["Adelie", "Chinstrap", "Gentoo"])
    labels = pa.DictionaryArray.from_arrays(
        pa.array(chance.integers(0, 3, size).astype("i1")), species
    )

    def predict(batch: pa.RecordBatch) -> list[pa.Array]:
        n = batch.num_rows
        return [
            labels[:n],
            *(pa.array(p[:n]) for p in probabilities),
            labels[:n],
            pa.array(ood_score[:n]),
        ]

    _read_answer_write(source, out, predict, 1)


def bare(source: str, out: str) -> None:
    """The same with the model."""
    from creche import registry
    from creche.project import ProjectPaths

    model, _ = registry.open_model("penguins", ProjectPaths.find(ROOT))
    session, classes = model.encoded_session, pa.array(model.classes)
    sets = pa.array([f"set {bits}" for bits in range(8)])

    def predict(batch: pa.RecordBatch) -> list[pa.Array]:
        feed = {n: batch.column(n).to_numpy().astype(np.float32).reshape(-1, 1) for n in NUMBERS}
        feed["preprocessing/island/code"] = (
            batch.column("island").indices.to_numpy().astype(np.float32).reshape(-1, 1)
        )
        probabilities, ood_score, inside = session.run(None, feed)
        bits = inside[0].view("i1") | inside[1].view("i1") << 1 | inside[2].view("i1") << 2
        label = pa.DictionaryArray.from_arrays(
            pa.array(probabilities.argmax(0).astype("i1")), classes
        )
        listed = pa.DictionaryArray.from_arrays(pa.array(bits), sets)
        return [label, *(pa.array(p) for p in probabilities), listed, pa.array(ood_score)]

    _read_answer_write(source, out, predict, 2)


def _read_answer_write(source: str, out: str, answer: Answer, threads: int) -> None:
    queue: Queue[Future[pa.Table] | None] = Queue(4)

    def write() -> None:
        writer = None
        while (waiting := queue.get()) is not None:
            table = waiting.result()
            listed = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
            writer = writer or pq.ParquetWriter(out, table.schema, use_dictionary=listed)
            writer.write_table(table, row_group_size=131_072)
        if writer:
            writer.close()

    def answered(batch: pa.RecordBatch) -> pa.Table:
        version = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(batch.num_rows, "i1")), pa.array(["1"])
        )
        names = [
            *batch.schema.names,
            "predicted",
            "p1",
            "p2",
            "p3",
            "prediction_set",
            "ood_score",
            "model_version",
        ]
        return pa.table([*batch.columns, *answer(batch), version], names=names)

    thread = threading.Thread(target=write)
    thread.start()
    start = time.perf_counter()
    if source.endswith(".csv"):
        types = dict.fromkeys(NUMBERS, pa.float64())
        types |= {"observation": pa.string(), "island": pa.dictionary(pa.int32(), pa.string())}
        batches = pa.csv.open_csv(
            source,
            read_options=pa.csv.ReadOptions(block_size=2 << 20),
            convert_options=pa.csv.ConvertOptions(column_types=types),
        )
    else:
        batches = pq.ParquetFile(source, read_dictionary=["island"], pre_buffer=False).iter_batches(
            32_768
        )
    rows = 0
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            queue.put(pool.submit(answered, batch))
            rows += batch.num_rows
    queue.put(None)
    thread.join()
    tell(rows, start)


def creche(source: str, out: str) -> None:
    from creche import registry
    from creche.data.sources import find_sources
    from creche.project import ProjectPaths
    from creche.scoring.batch import score

    model, version = registry.open_model("penguins", ProjectPaths.find(ROOT))
    _ = model._coded  # loading is left out
    start = time.perf_counter()
    manifest = score(find_sources([source]), model, version, Path(out))
    tell(manifest.scored, start)


def tell(rows: int, start: float) -> None:
    """Say how long it took since `start`, and the peak memory: this process's own, and with it those that it started."""
    seconds = time.perf_counter() - start
    pids = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": sum(map(_peak, pids))}))


def _peak(pid: int) -> int:
    """MiB; getrusage would tell the parent's too."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    except (OSError, IndexError):  # it has ended
        return 0


def run(who: str, source: Path, folder: Path, script: str = __file__) -> dict[str, float]:
    out = folder / f"{who}.out"
    start = time.perf_counter()
    command = [sys.executable, script, who, str(source), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "whole": time.perf_counter() - start}


def main(rows: int = 1_000_000, trials: int = 5) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(rows, folder / "birds")
        for suffix in (".parquet", ".csv"):
            source = folder / f"birds{suffix}"
            found: dict[str, list[dict[str, float]]] = {}
            for _ in range(trials):
                for who in ("floor", "bare", "creche"):
                    found.setdefault(who, []).append(run(who, source, folder))
            print(f"{rows} rows, {suffix} → .parquet, median of {trials}")
            for who, runs in found.items():
                speed = statistics.median(r["rows"] / r["seconds"] / 1e6 for r in runs)
                whole = statistics.median(r["whole"] for r in runs)
                peak = max(r["peak"] for r in runs)
                pairs = [
                    f["seconds"] / r["seconds"] for f, r in zip(found["floor"], runs, strict=True)
                ]
                ratio = statistics.median(pairs)
                print(
                    f"  {who:8} {speed:6.2f} M rows/s, {ratio:.2f} of the floor; process {whole:.2f} s, peak {peak:.0f} MiB"
                )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("floor", "bare", "creche"):
        globals()[sys.argv[1]](*sys.argv[2:])
    else:
        main(*map(int, sys.argv[1:3]))
