"""One bird from a cold start: `creche predict` against `python -c "import numpy, onnxruntime"`, whole processes in turn.

usage: python benchmarks/predict_startup.py [TRIALS]

Needs a champion: `make run` first.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CRECHE = [str(Path(sys.executable).with_name("creche")), "predict", "penguins", "island=Dream", "bill_length_mm=50.4",
          "bill_depth_mm=15.3", "flipper_length_mm=200", "body_mass_g=5000"]  # fmt: skip
BARE = [sys.executable, "-c", "import numpy, onnxruntime"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(trials: int = 21) -> None:
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # our own modules are compiled once, as an installer would
    for command in (CRECHE, BARE):
        seconds(command)
    pairs = [(seconds(CRECHE), seconds(BARE)) for _ in range(trials)]
    ours, bare = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"creche predict {ours:.3f} s, bare imports {bare:.3f} s, median ratio of {trials} pairs {ratio:.2f}"
    )


main(*map(int, sys.argv[1:2]))
