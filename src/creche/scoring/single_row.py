"""Predictions for one observation.

Without an image this imports nothing beyond numpy and onnxruntime, so that `creche predict` starts
at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from creche.contract import SINGLE_COLOR, Column, Contract
from creche.contract.cells import convert_unit, parse_number
from creche.errors import DataError, shortened
from creche.model.artifact import Model

Cell = str | float | None
CELL_LENGTH = 40  # characters of a cell that a message shows
LOW_OOD_SCORE = 0.05  # below it an observation is called unlike the training data


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one observation."""

    label: str
    probabilities: dict[str, float | None]  # class → 0..1; None where the row is unknown
    prediction_set: list[str]  # the classes that cannot be excluded
    ood_score: float | None  # 0..1: share of calibration rows at least as far from training
    unseen: dict[str, str]  # category → its value, where no training row had it: label is unknown
    ignored: list[str]  # columns that the model does not take

    @property
    def is_unlike_training(self) -> bool:
        """Whether hardly any calibration row lies as far from the training data."""
        return self.ood_score is not None and self.ood_score < LOW_OOD_SCORE


def predict(model: Model, cells: Mapping[str, str | float]) -> Prediction:
    """Predict one observation.

    Args:
        cells: text or number by column, under any name that the contract knows; for an image, the
            path of a file. Other columns are ignored, as in batch scoring.

    Raises:
        ContractError: a column is missing, or is there twice.
        DataError: a value breaks the contract; the message has every reason.
    """
    resolved = model.contract.resolve(list(cells), "this observation")
    row, contract = _canonical_row(model.contract, cells, resolved)
    reasons = contract.row_violations(row)
    arrays: dict[str, np.ndarray] = {}
    for name, column in contract.columns.items():
        try:
            arrays[name] = _to_array(row[name], column)
        except ValueError as error:
            # The rules may have stated the same reason.
            reason = f"{name}: {error}"
            if reason not in reasons:
                reasons.append(reason)
    if reasons:
        own_cells = {name: cells[header_name] for name, header_name in resolved.items()}
        texts = [_with_cell(reason, own_cells) for reason in reasons]
        raise DataError(f"this observation is refused: {'; '.join(texts)}")
    predictions = model.predict(arrays)
    probabilities = {}
    prediction_set = []
    for i, class_name in enumerate(model.classes):
        probabilities[class_name] = _number_or_none(predictions.probabilities[0, i])
        if predictions.sets[0, i]:
            prediction_set.append(class_name)
    ood_score = _number_or_none(predictions.ood_score[0])
    return Prediction(
        label=str(predictions.labels[0]),
        probabilities=probabilities,
        prediction_set=prediction_set,
        ood_score=ood_score,
        unseen=_unseen_values(model, arrays),
        ignored=[name for name in cells if name not in resolved.values()],
    )


def _with_cell(reason: str, cells: Mapping[str, str | float]) -> str:
    """Return a reason with the cell that it is about, if there is anything in it.

    Args:
        cells: as they came, by canonical name.
    """
    cell = str(cells.get(reason.partition(": ")[0], "")).strip()
    return f"{reason} ('{shortened(cell, CELL_LENGTH)}')" if cell else reason


def _unseen_values(model: Model, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the categories (1,) that no training row had."""
    unseen = {}
    for name, encoder in model.category_encoders.items():
        value = arrays[name][0]
        if value is not None and not encoder.takes(value):
            unseen[name] = value
    return unseen


def _canonical_row(
    contract: Contract, cells: Mapping[str, str | float], resolved: Mapping[str, str]
) -> tuple[dict[str, Cell], Contract]:
    """Return the cells by canonical name, in the contract's units, and the contract by which they
    are to be read.

    Args:
        contract: states the units.
        cells: by their own names.
        resolved: canonical name → own name.
    """
    row: dict[str, Cell] = {}
    columns = dict(contract.columns)
    for name, header_name in resolved.items():
        factor = contract.unit_factor(name, header_name)
        row[name] = cells[header_name]
        if factor == 1:
            continue
        try:
            value = _number(cells[header_name], columns[name])
        except ValueError:
            continue  # the contract states what is wrong with the cell
        row[name] = None if value is None else convert_unit(value, factor)
        # A number that stands for a missing value, as -999, does so in the cell's own unit alone.
        columns[name] = replace(columns[name], missing_values=())
    return row, replace(contract, columns=columns)


def _number(cell: str | float, column: Column) -> float | None:
    decimal_mark = column.stated_decimal_mark or "."
    return parse_number(cell, column.missing_spellings, decimal_mark, column.number_format)


def _to_array(cell: Cell, column: Column) -> np.ndarray:
    """Return a cell as a column of one row: (1,), or the pixels of an image (1, height, width,
    channels).

    Raises:
        ValueError: it is not of the column's type; the message is the reason.
        DataError: the image's file cannot be read.
    """
    value = column.type.parse(cell, column)
    if value is None or not column.type.is_image:
        return np.array([value], dtype=object)
    return _read_image(Path(str(value)), column)


def _read_image(path: Path, column: Column) -> np.ndarray:
    # Arrow and Pillow are for images alone.
    from creche.contract import images

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    pixels = images.decode(content, column)[None]  # (1, height, width, channels)
    if images.single_color_mask(images.as_column(pixels), column.shape[2]).any():
        raise ValueError(SINGLE_COLOR)
    return pixels


def _number_or_none(value: "np.floating[Any]") -> float | None:
    """Return None in place of NaN, with which a model marks what it does not know."""
    return None if np.isnan(value) else float(value)
