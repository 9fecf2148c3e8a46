"""Promotes on command, each time in a process of its own that may be killed: a line in is `VERSION
POINT`, a line out what came.

POINT is a number of the write at which the process kills itself (before it, or after it with a
`+`), or `-`. Forked, since importing MLflow takes seconds; no store is opened before the fork.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from creche.errors import CrecheError
from creche.project import ProjectPaths
from creche.registry import promotion_log, versions

IMPORTED_ONCE = (
    "mlflow.tracking.client", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store", "mlflow.store.model_registry.rest_store", "mlflow.tracking._model_registry.client",
    "mlflow.store.tracking.sqlalchemy_workspace_store", "alembic.command", "sqlalchemy.dialects.sqlite",
)  # fmt: skip
WRITES = ("create_version", "set_champion_alias", "tag_version")


def deadly(name: str, point: str, count: list[int]) -> Any:
    write = getattr(versions, name)

    def wrapped(*words: Any, **options: Any) -> Any:
        count[0] += 1
        here = point.rstrip("+") == str(count[0])
        if here and not point.endswith("+"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = write(*words, **options)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def main() -> None:
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    paths = ProjectPaths(Path.cwd(), Path.cwd() / "var")
    for number, line in enumerate(sys.stdin):
        version, point = line.split()
        child = os.fork()
        if child == 0:
            count = [0]
            for name in WRITES:
                setattr(versions, name, deadly(name, point, count))
            try:
                promotion_log.set_champion(
                    "penguins", version, paths, "override", f"attempt {number}", f"attempt {number}"
                )
            except CrecheError as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
