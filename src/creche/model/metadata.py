"""The metadata of a model file: what it states about itself, beside its graph.

Every section is JSON under a key `creche.SECTION` of the ONNX file's metadata. They are dataclasses
and not pydantic models, which would take longer to import than `creche predict` takes to run.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from creche.contract import Column, Contract
from creche.contract.json_types import Range, check_json, json_schema, shown
from creche.contract.reading import DEFAULT_READING, Reading
from creche.contract.row_rules import RowRule, StatedRule
from creche.contract.statistics import ColumnStatistics
from creche.errors import ModelError
from creche.model.decision import DecisionWeights
from creche.model.metadata_consistency import check_consistent
from creche.model.metadata_reader import KEY_PREFIX, MetadataReader
from creche.model.preprocessor import Preprocessor, preprocessor_schema

FORMAT = 4
SECTIONS = (
    "format",
    "recipe",
    "label",
    "label_column",
    "contract",
    "quarantine",
    "preprocessor",
    "uncertainty",
    "statistics",
    "golden",
    "data",
    "provenance",
)
# Sections that a file has where its recipe states something there.
OPTIONAL_SECTIONS = ("reading", "decision", "rules")

Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class QuarantineLimit:
    """How many rows of a batch may be quarantined before it is refused."""

    batch_max_share: Share  # of its rows


@dataclass(frozen=True)
class Uncertainty:
    """How ood_score and prediction sets were made."""

    coverage: Share  # of the rows whose set holds the true class
    threshold: Share  # probability from which on a class belongs to the set
    calibration_rows: int
    ood_score: str  # the method, with its source
    prediction_set: str  # the method, with its source


@dataclass(frozen=True)
class BaselineStatistics:
    """What the training rows looked like."""

    columns: dict[str, ColumnStatistics]  # by feature; its column type defines the keys
    classes: dict[str, Share]  # class → share of the rows
    missing: dict[str, int] = field(default_factory=dict)  # by feature: rows without a value

    @property
    def rows(self) -> int:
        """The number of training rows."""
        name, statistics = next(iter(self.columns.items()))
        return statistics["rows"] + self.missing.get(name, 0)


@dataclass(frozen=True)
class GoldenRows:
    """Rows with the predictions that the model must give again."""

    # Column → cells; null for NaN, an image's pixels in base64.
    rows: dict[str, list[str | float | None]]
    label: list[str]
    probabilities: list[list[float | None]]  # (n, classes); null for NaN
    ood_score: list[float | None]  # (n,); null for NaN

    @classmethod
    def empty(cls) -> "GoldenRows":
        """Return no rows, for a model whose predictions are still to be recorded."""
        return cls(rows={}, label=[], probabilities=[], ood_score=[])


@dataclass(frozen=True)
class DataTerms:
    """Under which terms the training data are used, and how they are cited."""

    license: str
    citation: str


@dataclass(frozen=True)
class Provenance:
    """Which data, code, libraries and machine made the model."""

    data_version: str  # MD5 of the data, as DVC names them
    recipe_digest: str  # SHA-256
    code_version: str  # SHA-256 of the package's source
    libraries_digest: str  # SHA-256 of the versions of the libraries
    fingerprint: str  # SHA-256 of the four above
    seed: int
    torch: str  # version
    cpu_capability: str  # as torch names it
    threads: int | None = None  # of torch, where the weights depend on them

    def to_dict(self) -> dict[str, Any]:
        """Return what is stated, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class ModelMetadata:
    """All metadata of a model file."""

    recipe: str  # name
    label: str  # column that is predicted
    label_column: Contract  # of that column alone, by which known labels are read
    contract: Contract  # of the features, each required; some may have missing values
    quarantine: QuarantineLimit
    preprocessor: Preprocessor
    uncertainty: Uncertainty
    statistics: BaselineStatistics
    golden: GoldenRows
    data: DataTerms
    provenance: Provenance
    reading: Reading = DEFAULT_READING  # of the training files, and of those to score
    decision: DecisionWeights | None = None  # None: the most likely class

    def to_dict(self) -> dict[str, Any]:
        """Return every section as JSON, in the order of `SECTIONS`."""
        optional = {
            "reading": self.reading.to_dict(),
            "decision": asdict(self.decision) if self.decision else None,
            "rules": [rule.to_dict() for rule in self.contract.row_rules],
        }
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "label": self.label,
            "label_column": self.label_column.to_dict(),
            "contract": self.contract.to_dict(),
            "quarantine": asdict(self.quarantine),
            "preprocessor": self.preprocessor.to_dict(),
            "uncertainty": asdict(self.uncertainty),
            "statistics": asdict(self.statistics),
            "golden": asdict(self.golden),
            "data": asdict(self.data),
            "provenance": self.provenance.to_dict(),
            **{section: value for section, value in optional.items() if value},
        }

    def to_properties(self) -> dict[str, str]:
        """Return the metadata properties of the ONNX file."""
        sections = self.to_dict().items()
        return {f"{KEY_PREFIX}{name}": json.dumps(value) for name, value in sections}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], file: str) -> "ModelMetadata":
        """Return what `to_properties` wrote.

        Args:
            properties: of the ONNX file.
            file: its name, for messages.

        Raises:
            ModelError: it is no model of ours, of another format, or a section is not as stated.
        """
        reader = MetadataReader(properties, file)
        _check_format(reader, file)
        metadata = cls(
            recipe=reader.text("recipe"),
            label=reader.text("label"),
            label_column=reader.parsed("label_column", Contract.from_dict),
            contract=_read_contract(reader),
            quarantine=reader.section("quarantine", QuarantineLimit),
            preprocessor=reader.parsed("preprocessor", Preprocessor.from_dict),
            uncertainty=reader.section("uncertainty", Uncertainty),
            statistics=reader.section("statistics", BaselineStatistics),
            golden=reader.section("golden", GoldenRows),
            data=reader.section("data", DataTerms),
            provenance=reader.section("provenance", Provenance),
            reading=reader.optional("reading", Reading.from_dict, DEFAULT_READING),
            decision=reader.optional("decision", DecisionWeights.from_dict, None),
        )
        check_consistent(metadata, reader)
        return metadata


def _read_contract(reader: MetadataReader) -> Contract:
    """Return the contract with its rules across columns."""
    contract = reader.parsed("contract", Contract.from_dict)
    if not reader.has("rules"):
        return contract

    def compiled(stated: Any) -> Contract:
        check_json(stated, list[StatedRule], "it")
        rules = []
        for rule in stated:
            rules.append(RowRule.compile(columns=contract.columns, **rule))
        return Contract(contract.columns, tuple(rules))

    return reader.parsed("rules", compiled)


def metadata_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every section."""
    schemas = {"format": {"const": FORMAT}, "recipe": json_schema(str), "label": json_schema(str)}
    for name in ("contract", "label_column"):
        schemas[name] = json_schema(dict[str, Column])
    schemas["preprocessor"] = preprocessor_schema()
    schemas["rules"] = json_schema(list[StatedRule])
    for attribute in fields(ModelMetadata):
        if attribute.name not in schemas:
            schemas[attribute.name] = json_schema(attribute.type)
    return {name: schemas[name] for name in (*SECTIONS, *OPTIONAL_SECTIONS)}


def _check_format(reader: MetadataReader, file: str) -> None:
    """Check that a model file has the format that is read here.

    Raises:
        ModelError: it has not; the message says what to do.
    """
    file_format = reader.json("format")
    if file_format == FORMAT and isinstance(file_format, int):
        return
    is_number = isinstance(file_format, int) and not isinstance(file_format, bool)
    if is_number and 0 < file_format < FORMAT:
        raise ModelError(
            f"{file} has model format {file_format}, and this creche reads format {FORMAT}: "
            f"export it again with `creche retrain {reader.text('recipe')}`"
        )
    raise ModelError(
        f"{file} has model format {shown(file_format)}; this creche reads format {FORMAT}: "
        "update it"
    )
