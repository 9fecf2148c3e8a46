"""Promote on command, each time in a process of its own that may be killed.

A line of the standard input is `VERSION POINT`: POINT is the number of the write at which the
process kills itself (before it, or after it with a `+`), or `-`. The lines of the output are the
process id and the exit code of each promotion.

Processes are forked, since importing MLflow takes seconds; no store is opened before the fork.
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

IMPORTED_BEFORE_THE_FORK = (
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.model_registry.rest_store",
    "mlflow.tracking._model_registry.client",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
)
WRITES = ("create_version", "set_champion_alias", "tag_version")


class KillPoint:
    """Kills this process at one of its writes to the store."""

    def __init__(self, point: str) -> None:
        self.write_number = point.rstrip("+")
        self.is_after = point.endswith("+")
        self.n_writes = 0

    def wrap(self, write: Any) -> Any:
        """Return the write, with the kill before or after it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.n_writes += 1
            is_reached = self.write_number == str(self.n_writes)
            if is_reached and not self.is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(*args, **kwargs)
            if is_reached:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped


def promote(version: str, point: str, number: int, paths: ProjectPaths) -> int:
    """Promote a version, and return the exit code."""
    kill_point = KillPoint(point)
    for name in WRITES:
        setattr(versions, name, kill_point.wrap(getattr(versions, name)))
    attempt = f"attempt {number}"
    try:
        promotion_log.set_champion("penguins", version, paths, "override", attempt, attempt)
    except CrecheError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def main() -> None:
    for module in IMPORTED_BEFORE_THE_FORK:
        importlib.import_module(module)
    paths = ProjectPaths(Path.cwd(), Path.cwd() / "var")
    for number, line in enumerate(sys.stdin):
        version, point = line.split()
        child = os.fork()
        if child == 0:
            os._exit(promote(version, point, number, paths))
        print(child, flush=True)
        _, wait_status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(wait_status), flush=True)


if __name__ == "__main__":
    main()
