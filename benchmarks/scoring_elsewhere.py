"""The same rows with the same model, as users would score them fallback, against `creche score`, in
turn.

usage: python benchmarks/scoring_elsewhere.py [ROWS] [TRIALS] [.csv|.parquet …]

- pyfunc: pandas reads, mlflow.pyfunc answers with the same ONNX file, pandas writes
- torch: pandas reads, the transform as numpy and the same network in torch on the CPU, pandas
writes
- pyspark: local[2]; Spark reads under a given schema, mlflow's spark_udf answers with the same ONNX
file, Spark writes

Each is a process of its own. `seconds` are of the work: imports, loading and the start of Spark are
left out, its Python
workers warmed by two rows. All write Parquet: the columns read, the label and the probabilities.
creche alone also checks
and quarantines, and writes ood_score, prediction sets and version. Peak memory is the sum over a
process and those that
it started, each at its own peak.

Needs a champion and, for pyspark, Java 17: `make run` first.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scoring import NUMBERS, ROOT, creche, make, run, tell

from creche import registry
from creche.project import ProjectPaths

PLACES = ProjectPaths.find(ROOT)
CHAMPION = "models:/penguins@champion"


def pyfunc(source: str, out: str) -> None:
    import mlflow

    os.environ["MLFLOW_TRACKING_URI"] = registry.store_location(PLACES).uri
    model = mlflow.pyfunc.load_model(CHAMPION)
    start = time.perf_counter()
    frame = _read(source)
    predictions = model.predict(frame[["island", *NUMBERS]])
    frame["predicted_species"] = predictions["label"]
    frame[["p1", "p2", "p3"]] = predictions["probabilities"].tolist()
    frame.to_parquet(out)
    tell(len(frame), start)


def torch(source: str, out: str) -> None:
    import torch

    from creche import recipe
    from creche.model import networks
    from creche.model.encoders import OneHotEncoder
    from creche.model.graph import weights

    model, _ = registry.open_model("penguins", PLACES)
    transform = model.metadata.preprocessor
    net = networks.build(recipe.load(model.metadata.recipe, ROOT).network, transform)
    net.load_state_dict({n: torch.from_numpy(w.copy()) for n, w in weights(model.content).items()})
    start = time.perf_counter()
    frame = _read(source)
    columns = []
    for encoder in transform.encoders:
        cells = frame[encoder.column]
        if isinstance(encoder, OneHotEncoder):
            # Faster than the encoder's own transform, which looks up every row.
            codes = pd.Categorical(cells, categories=list(encoder.vocabulary)).codes[:, None]
            columns.append((codes == np.arange(encoder.width)).astype(np.float32))
        else:
            columns.append(encoder.transform(cells.to_numpy()))
    with torch.inference_mode():
        probabilities = net(torch.from_numpy(np.concatenate(columns, axis=1))).softmax(1).numpy()
    frame["predicted_species"] = np.array(transform.classes, object)[probabilities.argmax(1)]
    frame[["p1", "p2", "p3"]] = probabilities
    frame.to_parquet(out)
    tell(len(frame), start)


def _read(source: str) -> pd.DataFrame:
    return pd.read_parquet(source) if source.endswith(".parquet") else pd.read_csv(source)


def pyspark(source: str, out: str) -> None:
    import mlflow
    from pyspark.sql import SparkSession

    os.environ["MLFLOW_TRACKING_URI"] = registry.store_location(PLACES).uri
    os.environ["PYSPARK_PYTHON"] = sys.executable
    loopback = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    spark = SparkSession.builder.master("local[2]").config(map=loopback).getOrCreate()
    predictions = (
        "struct<label:string,probabilities:array<float>>"  # all four outputs: half as long again
    )
    udf = mlflow.pyfunc.spark_udf(spark, CHAMPION, env_manager="local", result_type=predictions)
    schema = f"observation long, island string, {', '.join(f'{n} double' for n in NUMBERS)}"
    warm = [(0, "Dream", 50.0, 15.0, 200.0, 5000.0)] * 2
    spark.createDataFrame(warm, schema).select(udf("island", *NUMBERS)).collect()
    start = time.perf_counter()
    frame = (
        spark.read.parquet(source)
        if source.endswith(".parquet")
        else spark.read.csv(source, schema, header=True)
    )
    answered = frame.withColumn("found", udf("island", *NUMBERS))
    found = [
        "found.label as predicted_species",
        *(f"found.probabilities[{k}] as p{k + 1}" for k in range(3)),
    ]
    answered.selectExpr(*frame.columns, *found).write.mode("overwrite").parquet(out)
    rows = sum(pq.read_metadata(p).num_rows for p in Path(out).glob("*.parquet"))
    tell(rows, start)
    spark.stop()


def labels(out: Path) -> Counter[str]:
    """How often each label was given."""
    files = (
        [out]
        if out.is_file()
        else [p for p in out.glob("*.parquet") if p.name != "quarantine.parquet"]
    )
    counts: Counter[str] = Counter()
    for file in files:
        found = (
            pq.read_table(file, columns=["predicted_species"])["predicted_species"]
            .cast("string")
            .value_counts()
        )
        counts.update({str(f["values"]): f["counts"].as_py() for f in found})
    return counts


WAYS = {"creche": creche, "pyfunc": pyfunc, "torch": torch, "pyspark": pyspark}


def main(rows: int = 1_000_000, trials: int = 5, *suffixes: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(rows, folder / "birds")
        for suffix in suffixes or (".parquet", ".csv"):
            found: dict[str, list[dict[str, float]]] = {who: [] for who in WAYS}
            for _ in range(trials):
                for who, runs in found.items():
                    runs.append(run(who, folder / f"birds{suffix}", folder, __file__))
            given = {who: labels(folder / f"{who}.out") for who in WAYS}
            for who, counts in given.items():  # a probability at a draw may fall either way
                assert (counts - given["creche"]).total() <= rows * 1e-5, (
                    who,
                    counts,
                    given["creche"],
                )
            print(
                f"{rows} rows, {suffix} → .parquet, median of {trials}, times as long as creche "
                "score"
            )
            for who, runs in found.items():
                medians = {k: statistics.median(r[k] for r in runs) for k in ("seconds", "whole")}
                pairs = [zip(runs, found["creche"], strict=True) for _ in medians]
                ratios = [
                    statistics.median(r[k] / c[k] for r, c in p)
                    for k, p in zip(medians, pairs, strict=True)
                ]
                print(
                    f"  {who:8} work {ratios[0]:5.2f} ({medians['seconds']:.2f} s), process "
                    f"{ratios[1]:5.2f} "
                    f"({medians['whole']:.2f} s), peak {max(r['peak'] for r in runs):.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WAYS:
        WAYS[sys.argv[1]](*sys.argv[2:])
    else:
        main(*map(int, sys.argv[1:3]), *sys.argv[3:])
