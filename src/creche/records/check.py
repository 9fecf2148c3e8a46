"""The record of `creche check`: what a run of the recipe would train, and on what."""

from typing import Literal

from pydantic import Field

from creche.records.base import Record
from creche.records.data import SourceInfo, SplitReport, ValidationReport


class FeatureInputs(Record):
    """A feature, and the inputs of the network that it becomes."""

    name: str
    kind: str
    encoding: str
    inputs: int


class NetworkSize(Record):
    """The network that would be trained."""

    kind: str
    inputs: int  # 0 for an image, whose pixels are the input
    classes: int
    parameters: int


class RecipeCheck(Record):
    """What `creche check` found; what it did not reach is None (`creche check --json`)."""

    format: Literal[1] = 1
    recipe: str
    passed: bool = True
    message: str = ""  # why it did not pass
    source: SourceInfo | None = None
    validation: ValidationReport | None = None
    split: SplitReport | None = None
    features: list[FeatureInputs] = Field(default_factory=list)
    network: NetworkSize | None = None
