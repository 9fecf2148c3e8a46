"""Train the run in FOLDER, and die by `kill -9` when so many rows are done: `python trainer.py
RECIPE ROOT FOLDER ROWS WORKERS`.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from creche.pipeline.train import run
from creche.project import ProjectPaths
from creche.recipe import load


def main(name: str, root: str, folder: str, rows: str, workers: str) -> None:
    recipe = load(name, Path(root))
    seen: list[int] = []

    def follow(done: int, figures: dict[str, float], epoch: dict[str, Any] | None) -> None:
        seen.append(done)
        if int(rows) and done >= int(rows):
            os.kill(os.getpid(), signal.SIGKILL)

    run(
        recipe,
        ProjectPaths.find(Path(root)).at(Path(folder)),
        "cpu",
        int(workers),
        follow=follow,
    )
    print(seen[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
