"""What a model is for and what it takes, as its card states it; the size of its file."""

from pydantic import Field

from creche.records.base import Record


class ModelInput(Record):
    """A column that the model takes."""

    name: str
    kind: str  # number, category, text or image
    unit: str | None
    min: float | None
    max: float | None
    values: str  # of a category its values, of an image its size; else empty
    missing: bool = False  # whether its values may be missing


class ExportReport(Record):
    """What the export step came to."""

    bytes: int  # of the model file


class ModelDescription(Record):
    """What is known of a model before anything is measured."""

    description: str
    out_of_scope: str
    inputs: list[ModelInput]
    rules: list[str] = Field(default_factory=list)  # across inputs, which refuse a row
    license: str  # of the data
    citation: str
