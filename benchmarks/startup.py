"""Start-up of the commands that a person waits for, as ratios to the bare import of a library.

usage: python benchmarks/startup.py [TRIALS]

Whole processes, in turn: `creche status` (nothing up) against `import prefect`, `creche models` and
`creche history` against `import mlflow`, and an unchanged `creche retrain` (no server) against both
imports together. A ratio is the median over the pairs; below 1 the command is done before the
library would have been imported.

Needs a champion and no running services: `make run` first.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CRECHE = str(Path(sys.executable).with_name("creche"))
PAIRS = (
    (["status"], "import prefect", 1),
    (["models", "penguins"], "import mlflow", 0),
    (["history", "penguins"], "import mlflow", 0),
    (["retrain", "penguins"], "import prefect, mlflow", 0),
)


def run_seconds(command: list[str], exit_code: int = 0) -> float:
    """Return the time of a whole process."""
    start = time.perf_counter()
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if completed.returncode != exit_code:
        raise RuntimeError(f"{command} ended {completed.returncode}: {completed.stderr}")
    return seconds


def main(trials: int = 11) -> None:
    # Modules are compiled once, as an installer would.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for arguments, statement, exit_code in PAIRS:
        command = [CRECHE, *arguments]
        reference = [sys.executable, "-c", statement]
        run_seconds(command, exit_code)
        run_seconds(reference)
        command_seconds = []
        ratios = []
        for _ in range(trials):
            seconds = run_seconds(command, exit_code)
            command_seconds.append(seconds)
            ratios.append(seconds / run_seconds(reference))
        median = statistics.median(command_seconds)
        ratio = statistics.median(ratios)
        name = " ".join(arguments)
        print(
            f"creche {name:<17} {median:5.2f} s, {ratio:.2f} times `{statement}` "
            f"(median of {trials} pairs)"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
