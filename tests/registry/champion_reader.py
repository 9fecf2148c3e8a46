"""Resolve the champion and predict with it, again and again, until the standard input closes:
`python champion_reader.py DIGESTS`, the digests as JSON by version.

Prints its process id, and at the end how often it read and what was wrong.
"""

import json
import os
import select
import sys
from pathlib import Path

import numpy as np

from creche import registry
from creche.errors import CrecheError
from creche.model.artifact import Model
from creche.project import ProjectPaths

PAUSE_SECONDS = 0.05  # between two reads; a server needs the time for the promoter
OBSERVATION = {
    "island": np.array(["Dream"], object),
    "bill_length_mm": np.array([50.4], np.float32),
    "bill_depth_mm": np.array([15.3], np.float32),
    "flipper_length_mm": np.array([200.0], np.float32),
    "body_mass_g": np.array([5000.0], np.float32),
}


def check_champion(paths: ProjectPaths, digests: dict[str, str]) -> str | None:
    """Return what is wrong with the champion, or None."""
    try:
        champion = registry.champion("penguins", paths)
        if champion is None:
            return "there is no champion"
        model = Model(champion.path, champion.digest)
        label = str(model.predict(OBSERVATION).labels[0])
    except CrecheError as error:
        return f"{type(error).__name__}: {error}"
    if champion.digest != digests[champion.version] or label not in model.classes:
        return f"version {champion.version} is {champion.digest}, and predicts {label}"
    return None


def main() -> None:
    paths = ProjectPaths(Path.cwd(), Path.cwd() / "var")
    digests = json.loads(sys.argv[1])
    reads = 0
    violations = []
    print(os.getpid(), flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        violation = check_champion(paths, digests)
        if violation:
            violations.append(violation)
        reads += 1
    report = {"reads": reads, "wrong": violations[:5], "violations": len(violations)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
