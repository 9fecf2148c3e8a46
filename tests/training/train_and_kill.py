"""Train the run in FOLDER, and end by SIGKILL when so many rows are processed:
`python train_and_kill.py RECIPE ROOT FOLDER ROWS`.
"""

import os
import signal
import sys
from pathlib import Path

from creche.pipeline.train import run
from creche.project import ProjectPaths
from creche.recipe import load
from creche.records import EpochMetrics


def main(name: str, root: str, folder: str, kill_after_rows: str) -> None:
    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        if rows >= int(kill_after_rows):
            os.kill(os.getpid(), signal.SIGKILL)

    paths = ProjectPaths.find(Path(root)).at(Path(folder))
    run(load(name, Path(root)), paths, "cpu", on_progress=on_progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
