"""What it costs to be killed, to score on a cluster and to read from S3: `creche score` against itself, in turn.

usage: python benchmarks/scoring_partitions.py [ROWS] [TRIALS]

- resume: a folder of ten partitions, killed when half are whole and started again: both together, against undisturbed
- dask: the same folder on a local scheduler with two worker processes of one thread, against this process alone
- s3: one file from `rclone serve s3` on this machine, against the same from disk

Whole processes of `creche score`, start-up with them; scheduler, workers and server run all the while.
Needs a champion: `make run` first.
"""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from scoring import ROOT, make

PARTITIONS = 10


def command(source: str | Path, out: Path, *words: str) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    creche = [
        sys.executable,
        "-m",
        "creche.cli",
        "score",
        str(source),
        "--recipe",
        "penguins",
        "--out",
        str(out),
    ]
    return [*creche, *words]


def whole(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def resumed(words: list[str], out: Path) -> float:
    start = time.perf_counter()
    first = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(list(out.glob(".creche-work/commits/*.json"))) < PARTITIONS // 2:
        if first.poll() is not None:
            raise RuntimeError("it ended before it could be killed: give it more rows")
        time.sleep(0.001)
    first.send_signal(signal.SIGKILL)
    first.wait()
    return time.perf_counter() - start + whole(words)


@contextmanager
def serving(*commands: list[str], port: int) -> Iterator[None]:
    """All of them running, and someone listening on the port."""
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    runs = [
        subprocess.Popen(c, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for c in commands
    ]
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        for run in runs:
            run.kill()
            run.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main(rows: int = 10_000_000, trials: int = 5) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bucket, parts, out = folder / "s3/bucket", folder / "parts", folder / "out"
        bucket.mkdir(parents=True)
        make(rows, bucket / "birds")
        table = pq.read_table(bucket / "birds.parquet")
        for i in range(PARTITIONS):
            (parts / f"part={i}").mkdir(parents=True)
            part = table.slice(i * rows // PARTITIONS, rows // PARTITIONS)
            pq.write_table(part, parts / f"part={i}/birds.parquet", row_group_size=131_072)
        del table
        one, two = free_port(), free_port()
        address = f"tcp://127.0.0.1:{one}"
        scheduler = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            address,
            "--no-dashboard",
        ]
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
        ]
        workers = [[*worker, "--no-nanny", "--local-directory", str(folder)]] * 2
        rclone = [
            str(Path(sys.executable).with_name("rclone")),
            "serve",
            "s3",
            "--auth-key",
            "AKID,SECRET",
        ]
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{two}",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        found: dict[str, list[tuple[float, float]]] = {}  # seconds, and those of the reference
        with (
            serving(scheduler, *workers, port=one),
            serving([*rclone, "--addr", f"127.0.0.1:{two}", str(bucket.parent)], port=two),
        ):
            whole(command(parts, out, "--dask", address))  # the workers' imports
            for _ in range(trials):
                alone = whole(command(parts, out))
                found.setdefault("resume", []).append((resumed(command(parts, out), out), alone))
                found.setdefault("dask", []).append(
                    (whole(command(parts, out, "--dask", address)), alone)
                )
                for kind in ("parquet", "csv"):
                    disk = whole(command(bucket / f"birds.{kind}", out))
                    s3 = whole(command(f"s3://bucket/birds.{kind}", out))
                    found.setdefault(f"s3, {kind}", []).append((s3, disk))
        print(f"{rows} rows, median of {trials}, whole processes, times as long as the reference")
        for what, pairs in found.items():
            ratio, seconds, reference = (
                statistics.median(v) for v in ([a / b for a, b in pairs], *zip(*pairs, strict=True))
            )
            print(f"  {what:12} {ratio:.2f} ({seconds:.2f} s; reference {reference:.2f} s)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
