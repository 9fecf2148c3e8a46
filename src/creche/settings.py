"""The environment variables that configure creche, in one place.

Nothing is read on import: each function looks when it is called. The variables of the libraries
that are set for them (Prefect's, MLflow's, Great Expectations') are set where the library is used.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variable:
    """An environment variable, for the reference in the documentation."""

    name: str
    meaning: str


VARIABLES = (
    Variable("CRECHE_HOME", "where everything that runs leave is kept; by default `var/`"),
    Variable("CRECHE_ROOT", "the project's folder on a worker's machine; set by `creche up`"),
    Variable(
        "CRECHE_WEBHOOK",
        "address that is notified of failed runs, repeated rejections and many quarantined rows",
    ),
    Variable("CRECHE_MLFLOW_URL", "MLflow's pages, for links; set by `creche up`"),
    Variable("MLFLOW_TRACKING_URI", "MLflow's store; by default a SQLite file in `CRECHE_HOME`"),
    Variable("PREFECT_API_URL", "the Prefect server; by default the one that `creche up` started"),
)


def home() -> Path | None:
    """Return `CRECHE_HOME`, absolute; None where it is not set."""
    value = os.environ.get("CRECHE_HOME")
    return Path(value).expanduser().absolute() if value else None


def project_root() -> Path | None:
    """Return `CRECHE_ROOT`; None where it is not set."""
    value = os.environ.get("CRECHE_ROOT")
    return Path(value) if value else None


def webhook() -> str | None:
    """Return `CRECHE_WEBHOOK`; None where it is not set."""
    return os.environ.get("CRECHE_WEBHOOK") or None


def mlflow_pages() -> str | None:
    """Return `CRECHE_MLFLOW_URL`, the address of MLflow's pages; None where it is not set."""
    return os.environ.get("CRECHE_MLFLOW_URL") or None


def tracking_uri() -> str | None:
    """Return `MLFLOW_TRACKING_URI`; None where it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def prefect_api_url() -> str | None:
    """Return `PREFECT_API_URL`; None where it is not set."""
    return os.environ.get("PREFECT_API_URL") or None


def named_by_recipe(name: str) -> str | None:
    """Return a variable that the address of a database names; None where it is not set."""
    return os.environ.get(name) or None
