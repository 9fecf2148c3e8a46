"""The metadata of a model file: what it states about itself, beside its graph.

Every section is JSON under a key `creche.SECTION` of the ONNX file's metadata. They are dataclasses
and not pydantic models, which would take longer to import than `creche predict` takes to run.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType
from typing import Any, TypeVar, get_origin

from creche.contract import Contract
from creche.errors import DataError, ModelError
from creche.model.preprocessor import Preprocessor

FORMAT = 2
KEY_PREFIX = "creche."
SECTIONS = (
    "format",
    "recipe",
    "label",
    "contract",
    "quarantine",
    "preprocessor",
    "uncertainty",
    "statistics",
    "golden",
    "data",
    "provenance",
)

AnySection = TypeVar("AnySection")


@dataclass(frozen=True)
class QuarantineLimit:
    """How many rows of a batch may be quarantined before it is refused."""

    batch_max_share: float  # of its rows, 0..1


@dataclass(frozen=True)
class Uncertainty:
    """How ood_score and prediction sets were made."""

    coverage: float  # share of rows whose set holds the true class, 0..1
    threshold: float  # probability from which on a class belongs to the set, 0..1
    calibration_rows: int
    ood_score: str  # the method, with its source
    prediction_set: str  # the method, with its source


@dataclass(frozen=True)
class BaselineStatistics:
    """What the training rows looked like."""

    columns: dict[str, dict[str, Any]]  # feature → statistics, which its column type defines
    classes: dict[str, float]  # class → share of the rows, 0..1


@dataclass(frozen=True)
class GoldenRows:
    """Rows with the predictions that the model must give again."""

    rows: dict[str, list[Any]]  # column → cells; null for NaN, an image's pixels in base64
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
    lock_digest: str  # SHA-256 of the versions of the libraries
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
    contract: Contract  # of the features, each required
    quarantine: QuarantineLimit
    preprocessor: Preprocessor
    uncertainty: Uncertainty
    statistics: BaselineStatistics
    golden: GoldenRows
    data: DataTerms
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """Return every section as JSON, in the order of `SECTIONS`."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "label": self.label,
            "contract": self.contract.to_dict(),
            "quarantine": asdict(self.quarantine),
            "preprocessor": self.preprocessor.to_dict(),
            "uncertainty": asdict(self.uncertainty),
            "statistics": asdict(self.statistics),
            "golden": asdict(self.golden),
            "data": asdict(self.data),
            "provenance": self.provenance.to_dict(),
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
        check_format(properties, file)
        sections = {name: _json(properties, name, file) for name in SECTIONS}
        return cls(
            recipe=_text(sections, "recipe", file),
            label=_text(sections, "label", file),
            contract=_contract(sections["contract"], file),
            quarantine=_section(QuarantineLimit, sections, "quarantine", file),
            preprocessor=_preprocessor(sections["preprocessor"], file),
            uncertainty=_section(Uncertainty, sections, "uncertainty", file),
            statistics=_section(BaselineStatistics, sections, "statistics", file),
            golden=_section(GoldenRows, sections, "golden", file),
            data=_section(DataTerms, sections, "data", file),
            provenance=_section(Provenance, sections, "provenance", file),
        )


def check_format(properties: Mapping[str, str], file: str) -> None:
    """Check that a model file has the format that is read here.

    Raises:
        ModelError: it has not; the message says what to do.
    """
    if f"{KEY_PREFIX}format" not in properties:
        raise ModelError(
            f"{file} is an ONNX model, but not one of creche's: it lacks {KEY_PREFIX}format"
        )
    found = _json(properties, "format", file)
    if found == FORMAT:
        return
    if isinstance(found, int) and found < FORMAT:
        recipe = _json(properties, "recipe", file)
        raise ModelError(
            f"{file} has model format {found}, and this creche reads format {FORMAT}: "
            f"export it again with `creche retrain {recipe}`"
        )
    raise ModelError(
        f"{file} has model format {found}; this creche reads format {FORMAT}: update it"
    )


def _json(properties: Mapping[str, str], section: str, file: str) -> Any:
    key = f"{KEY_PREFIX}{section}"
    if key not in properties:
        raise ModelError(f"{file} is an ONNX model, but not one of creche's: it lacks {key}")
    try:
        return json.loads(properties[key])
    except ValueError as error:
        raise ModelError(f"{file}: {key} is not valid JSON ({error})") from None


def _text(sections: Mapping[str, Any], section: str, file: str) -> str:
    value = sections[section]
    if not isinstance(value, str):
        raise ModelError(f"{file}: {KEY_PREFIX}{section} is {value!r}, not a text")
    return value


def _contract(value: Any, file: str) -> Contract:
    try:
        return Contract.from_dict(value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: {KEY_PREFIX}contract is not a contract ({error})") from None


def _preprocessor(value: Any, file: str) -> Preprocessor:
    try:
        return Preprocessor.from_dict(value)
    except (AttributeError, KeyError, TypeError, ValueError, DataError) as error:
        raise ModelError(
            f"{file}: {KEY_PREFIX}preprocessor is not a preprocessor ({error})"
        ) from None


def _section(
    section_type: type[AnySection], sections: Mapping[str, Any], section: str, file: str
) -> AnySection:
    """Return one section as its dataclass, its keys and their types checked."""
    value = sections[section]
    where = f"{file}: {KEY_PREFIX}{section}"
    if not isinstance(value, dict):
        raise ModelError(f"{where} is {value!r}, not a JSON object")
    expected = {field.name: field for field in fields(section_type)}  # type: ignore[arg-type]
    for name in value:
        if name not in expected:
            raise ModelError(f"{where} has an unknown key '{name}'")
    for name, field in expected.items():
        if name not in value:
            if field.default is MISSING:
                raise ModelError(f"{where} lacks '{name}'")
            continue
        if not _has_type(value[name], field.type):
            raise ModelError(f"{where}: '{name}' is {value[name]!r}, not {_type_name(field.type)}")
    return section_type(**value)


def _has_type(value: Any, expected: Any) -> bool:
    """Whether a JSON value has the type of a field; what is inside a list or object is not
    looked at.
    """
    if expected is float:
        return isinstance(value, int | float)
    if isinstance(expected, UnionType):
        return isinstance(value, expected)
    return isinstance(value, get_origin(expected) or expected)


def _type_name(expected: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "a text", dict: "an object"}
    return names.get(get_origin(expected) or expected, "a list")
