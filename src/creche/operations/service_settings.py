"""The settings of `creche up`: the part `creche:` of deploy/prefect.yaml."""

from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from creche import settings
from creche.errors import UsageError
from creche.project import ProjectPaths
from creche.records.base import Record

CONFIG = "deploy/prefect.yaml"
MEANINGS = {
    "pools": "maps each pool to the number of its concurrent runs, 1 or more, as {cpu: 2}",
    "keep_days": "is a number of days, 1 or more",
    "webhook": "is a URL, or empty",
}

PoolName = Annotated[str, Field(strict=True, min_length=1)]
PositiveInteger = Annotated[int, Field(strict=True, ge=1)]


class ServiceSettings(Record):
    """What an operator states for `creche up`."""

    # concurrent runs, by pool
    pools: dict[PoolName, PositiveInteger] = Field(default={"cpu": 2, "gpu": 1}, min_length=1)
    keep_days: PositiveInteger = 90  # that Prefect's database keeps ended runs
    webhook: Annotated[str, Field(strict=True)] = ""  # empty: no notifications


def load_settings(paths: ProjectPaths) -> ServiceSettings:
    """Read the settings; `CRECHE_WEBHOOK` overrides the webhook.

    Raises:
        UsageError: the file is absent or no YAML, or a key is wrong: a sentence for each.
    """
    path = paths.root / CONFIG
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file; state the project's deployments there for `creche up`"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a mapping")
    part = content.get("creche") or {}
    if not isinstance(part, dict):
        raise UsageError(f"{path}: creche is a mapping of {', '.join(MEANINGS)}")
    values = {**part, "webhook": settings.webhook() or part.get("webhook") or ""}
    try:
        return ServiceSettings.model_validate(values)
    except ValidationError as error:
        sentences = "; ".join(_sentences(error))
        raise UsageError(f"{path}: {sentences}") from None


def _sentences(error: ValidationError) -> list[str]:
    """Return one sentence for each wrong key."""
    sentences: dict[Any, str] = {}
    for detail in error.errors():
        key = detail["loc"][0]
        if key in MEANINGS:
            sentences[key] = f"creche.{key} {MEANINGS[str(key)]}"
        else:
            sentences[key] = f"creche.{key} is not one of {', '.join(MEANINGS)}"
    return list(sentences.values())
