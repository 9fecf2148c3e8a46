"""Resolves the champion and lets it answer, again and again, until its input closes; then prints
how often, and what went wrong.
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

BIRD = {
    "island": "Dream",
    "bill_length_mm": 50.4,
    "bill_depth_mm": 15.3,
    "flipper_length_mm": 200.0,
    "body_mass_g": 5000.0,
}


def main() -> None:
    paths = ProjectPaths(Path.cwd(), Path.cwd() / "var")
    digests, reads, wrong = json.loads(sys.argv[1]), 0, []
    print(os.getpid(), flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:  # leaves a server room for the promoter
        try:
            found = registry.resolve("penguins", paths)
            assert found is not None
            model = Model(found.path, found.digest)
            answer = model.predict(
                {n: np.array([v], object if n == "island" else np.float32) for n, v in BIRD.items()}
            )
            if found.digest != digests[found.version] or str(answer.labels[0]) not in model.classes:
                wrong.append(
                    f"version {found.version} is {found.digest}, and says {answer.labels[0]}"
                )
        except (AssertionError, CrecheError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        reads += 1
    print(json.dumps({"reads": reads, "wrong": wrong[:5], "violations": len(wrong)}))


if __name__ == "__main__":
    main()
