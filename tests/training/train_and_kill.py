"""Train the run in FOLDER, and end by SIGKILL when so many rows are processed (0: never):
`python train_and_kill.py RECIPE ROOT FOLDER ROWS WORKERS`.

Prints how many rows were processed at the first report of progress.
"""

import os
import signal
import sys
from pathlib import Path

from creche.pipeline.train import run
from creche.project import ProjectPaths
from creche.recipe import load
from creche.records import EpochMetrics


def main(name: str, root: str, folder: str, kill_after_rows: str, workers: str) -> None:
    limit = int(kill_after_rows)
    reported_rows: list[int] = []

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        reported_rows.append(rows)
        if limit and rows >= limit:
            os.kill(os.getpid(), signal.SIGKILL)

    paths = ProjectPaths.find(Path(root)).at(Path(folder))
    run(load(name, Path(root)), paths, "cpu", int(workers), on_progress=on_progress)
    print(reported_rows[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
