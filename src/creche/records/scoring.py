"""Records of batch scoring (`manifest.json`, the scoring log)."""

from typing import Literal

from creche.records.base import Record


class ModelReference(Record):
    """Which model scored."""

    recipe: str
    version: str  # `file` where no registry named it
    digest: str
    verdict_id: str | None
    data_version: str


class InputSummary(Record):
    """One input file and what became of its rows."""

    file: str
    format: str
    sha256: str
    predictions: str  # file below the output folder
    rows: int
    scored: int
    renamed: dict[str, str]


class ScoringManifest(Record):
    """A whole scoring: it is written last, so where it is there all that it names is whole."""

    format: int = 2
    state: Literal["scored", "refused"]
    engine: str  # version of creche
    model: ModelReference
    rows: int
    scored: int
    quarantined: int
    withheld: int  # scored rows of a refused batch, which are not published
    reasons: dict[str, int]
    labels: dict[str, int]
    inputs: list[InputSummary]
    seconds: float


class LoggedInput(Record):
    file: str
    sha256: str


class ScoringLogEntry(Record):
    """One line of `scorings.jsonl`."""

    format: int = 2
    time: str
    out: str
    state: str
    model: ModelReference
    rows: int
    scored: int
    quarantined: int
    inputs: list[LoggedInput]
