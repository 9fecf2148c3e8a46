"""Whether the sections of a model file's metadata agree with each other."""

from typing import TYPE_CHECKING

from creche.contract.json_types import check_json
from creche.errors import ModelError
from creche.model.metadata_reader import MetadataReader

if TYPE_CHECKING:
    from creche.model.metadata import GoldenRows, ModelMetadata


def check_consistent(metadata: "ModelMetadata", reader: MetadataReader) -> None:
    """Check that encoders, statistics and golden rows are those of the contract's columns.

    Args:
        metadata: whose sections have the right types.
        reader: of the file, for messages.

    Raises:
        ModelError: they are not; the message names the section.
    """
    try:
        _check_label(metadata, reader.where("label_column"))
        _check_encoders(metadata, reader.where("preprocessor"))
        _check_statistics(metadata, reader.where("statistics"))
        _check_decision(metadata, reader.where("decision"))
        if metadata.golden.label or metadata.golden.rows:
            _check_golden_cells(metadata, reader.where("golden"))
            _check_golden_predictions(
                metadata.golden, len(metadata.preprocessor.classes), reader.where("golden")
            )
    except ValueError as error:
        raise ModelError(str(error)) from None


def _check_label(metadata: "ModelMetadata", where: str) -> None:
    columns = metadata.label_column.columns
    if list(columns) != [metadata.label]:
        raise ValueError(f"{where} has the columns {', '.join(columns)}, not {metadata.label}")
    classes = columns[metadata.label].allowed_values
    if classes != metadata.preprocessor.classes:
        raise ValueError(f"{where} has other classes than the preprocessor")


def _check_encoders(metadata: "ModelMetadata", where: str) -> None:
    columns = metadata.contract.columns
    encoders = metadata.preprocessor.encoders
    encoded = [encoder.column for encoder in encoders]
    if not encoded or sorted(encoded) != sorted(columns):
        raise ValueError(
            f"{where} has the columns {', '.join(encoded) or 'none'}, and the contract "
            f"{', '.join(columns) or 'none'}"
        )
    for encoder in encoders:
        kind = columns[encoder.column].kind
        if encoder.column_kind != columns[encoder.column].type.encodes_as:
            raise ValueError(
                f"{where} encodes {encoder.column} as a {encoder.column_kind}, and the contract "
                f"states a {kind}"
            )


def _check_statistics(metadata: "ModelMetadata", where: str) -> None:
    statistics = metadata.statistics.columns
    for name, column in metadata.contract.columns.items():
        if name not in statistics:
            raise ValueError(f"{where} lacks column '{name}'")
        check_json(statistics[name], column.type.statistics_type, where, f"columns.{name}")


def _check_decision(metadata: "ModelMetadata", where: str) -> None:
    classes = metadata.preprocessor.classes
    if metadata.decision and set(metadata.decision.weights) != set(classes):
        raise ValueError(
            f"{where} weights {', '.join(metadata.decision.weights) or 'no class'}, and the "
            f"classes are {', '.join(classes)}"
        )


def _check_golden_cells(metadata: "ModelMetadata", where: str) -> None:
    columns = metadata.contract.columns
    golden = metadata.golden
    if sorted(golden.rows) != sorted(columns):
        raise ValueError(
            f"{where} has the columns {', '.join(golden.rows) or 'none'}, and the contract "
            f"{', '.join(columns)}"
        )
    count = len(golden.label)
    for name, column in columns.items():
        cells = golden.rows[name]
        cell_type = column.type.golden_cell_type
        check_json(cells, list[cell_type], where, f"rows.{name}")  # type: ignore[valid-type]
        if len(cells) != count:
            raise ValueError(f"{where} has {len(cells)} rows.{name}, and {count} labels")


def _check_golden_predictions(golden: "GoldenRows", class_count: int, where: str) -> None:
    count = len(golden.label)
    lengths = {"probabilities": len(golden.probabilities), "ood_score": len(golden.ood_score)}
    for name, length in lengths.items():
        if length != count or not count:
            raise ValueError(f"{where} has {length} {name}, and {count} labels")
    for row, probabilities in enumerate(golden.probabilities):
        if len(probabilities) != class_count:
            raise ValueError(
                f"{where}: row {row} has {len(probabilities)} probabilities, and there are "
                f"{class_count} classes"
            )
