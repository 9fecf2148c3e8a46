"""Prefect's settings for this project: private and offline, everything below the project's own
home.

Call `configure` before Prefect is imported: it reads its settings when it is.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creche import settings
from creche.errors import CrecheError
from creche.operations import service_state
from creche.project import ProjectPaths

DEFAULTS = {
    # Of every process alike, or the automation marks healthy runs as crashed.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds
    # A server that is away for 100 s is waited for,
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # and so is one whose database is away.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The V2 pages call an outside host from the browser, whatever the settings.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    # The first start migrates its database.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def configure(paths: ProjectPaths) -> None:
    """Set what the environment does not set already, and the addresses of the services that run
    here.

    Raises:
        CrecheError: Prefect's folder cannot be created.
    """
    settings = {**DEFAULTS, "PREFECT_HOME": str(paths.home / "prefect")}
    state = service_state.read_state(paths)
    if state is not None and state.addresses is not None:
        settings["PREFECT_API_URL"] = state.addresses.prefect_url
        settings["CRECHE_MLFLOW_URL"] = state.addresses.mlflow_url
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    folder = Path(os.environ["PREFECT_HOME"])
    paths.create_home()
    try:
        # Prefect creates the last folder only.
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CrecheError(
            f"{folder} cannot be created: {error.strerror}; set CRECHE_HOME to another folder"
        ) from None


def artifact_key(kind: str, recipe: str) -> str:
    """Return an artifact's key: Prefect takes lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', recipe.lower())}"


def enter() -> dict[str, str]:
    """Pull step of deployments: go to the project's folder on this machine, not on the one that
    deployed.
    """
    root = str(settings.project_root() or ProjectPaths.find().root)
    os.chdir(root)
    return {"directory": root}


@contextmanager
def displayed() -> Iterator[None]:
    """Let what is for display decide nothing: where it cannot be shown, the flow warns and goes
    on.
    """
    from prefect import get_run_logger

    try:
        yield
    except Exception as error:
        get_run_logger().warning("not shown in the Prefect UI: %s", error)
