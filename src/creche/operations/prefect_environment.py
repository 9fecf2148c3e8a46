"""Prefect, and nothing but wiring. What is set here holds where the caller has not said otherwise.

Private and offline: no telemetry, no promotional content. Everything a run leaves lies in the project's own home.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creche.errors import CrecheError
from creche.operations import supervisor
from creche.project import ProjectPaths

DEFAULTS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # of every process alike, or the automation crashes healthy runs
    "PREFECT_CLIENT_MAX_RETRIES": "8",  # a server that is away for 100 s is waited for
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # and so is one whose database is away
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it calls an outside host from the browser, whatever the settings
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start migrates its database
    "PREFECT_HOME": str(ProjectPaths.find().home / "prefect"),
}
if _up := supervisor.record(ProjectPaths.find()):
    DEFAULTS |= (
        {"PREFECT_API_URL": _up["prefect"], "CRECHE_MLFLOW_URL": _up["mlflow"]}
        if "prefect" in _up
        else {}
    )
for _key, _value in DEFAULTS.items():
    os.environ.setdefault(_key, _value)
try:
    Path(os.environ["PREFECT_HOME"]).mkdir(
        parents=True, exist_ok=True
    )  # Prefect makes the last folder only
except OSError as error:
    raise CrecheError(
        f"{os.environ['PREFECT_HOME']} cannot be made: {error.strerror}; set CRECHE_HOME"
    ) from None


def artifact_key(kind: str, recipe: str) -> str:
    """An artifact's key: Prefect takes lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', recipe.lower())}"


def enter() -> dict[str, str]:
    """A pull step of deployments: go to the project's folder on this machine, not on the one that deployed."""
    root = os.environ.get("CRECHE_ROOT") or str(ProjectPaths.find().root)
    os.chdir(root)
    return {"directory": root}


@contextmanager
def displayed() -> Iterator[None]:
    """What is for display decides nothing: where it cannot be shown, the flow warns and goes on."""
    from prefect import get_run_logger  # not before the settings above

    try:
        yield
    except Exception as error:
        get_run_logger().warning("not shown in the Prefect UI: %s", error)
