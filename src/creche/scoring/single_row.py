"""One observation, answered at once: without a picture nothing is imported here beyond numpy and
onnxruntime.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from creche.contract import SINGLE_COLOR, Column, parse_number, parse_text
from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.errors import DataError
from creche.model.artifact import Model


def predict(model: Model, given: Mapping[str, str]) -> dict[str, Any]:
    """The label and the probability of each class for one row of text cells under any name that the
    contract knows.

    The cell of an image is the path of a picture.

    Raises:
        ContractError: a column is missing, or stands there twice.
        DataError: a column is unknown, or a value breaks the contract; every reason is in the
        message.
    """
    found = model.contract.resolve(list(given), "this observation")
    strange = [g for g in given if g not in found.values()]
    if strange:
        raise DataError(
            f"'{strange[0]}' is no column of this model: it takes {', '.join(model.contract.columns)}"
        )
    row: dict[str, str | float | None] = {}
    for name, header in found.items():
        factor, cell = model.contract.unit_factor(name, header), given[header]
        row[name] = cell if factor == 1 else _scaled(cell, factor)
    reasons = model.contract.row_violations(row)
    columns: dict[str, np.ndarray] = {}
    for name, column in model.contract.columns.items():
        try:
            columns[name] = _cells(row[name], column)
        except ValueError as error:
            if f"{name}: {error}" not in reasons:
                reasons.append(f"{name}: {error}")
    if reasons:
        raise DataError(f"this observation is refused: {'; '.join(reasons)}")
    predictions = model.predict(columns)
    return {
        LABEL: str(predictions.labels[0]),
        PROBABILITIES: {
            c: known(p) for c, p in zip(model.classes, predictions.probabilities[0], strict=True)
        },
        PREDICTION_SET: [
            c for c, inside in zip(model.classes, predictions.sets[0], strict=True) if inside
        ],
        OOD_SCORE: known(predictions.ood_score[0]),
    }


def _cells(cell: str | float | None, column: Column) -> np.ndarray:
    """A column of one row: a number, a text (1,), or the pixels of the picture there (1, height,
    width, channels).

    Raises:
        ValueError: it is none; the message is the reason.
    """
    said = parse_text(cell)
    if column.kind != "image" or said is None:
        return np.array([parse_number(cell) if column.kind == "number" else said], dtype=object)

    from creche.contract import images

    try:
        found = images.decode(Path(said).read_bytes(), column)[None]
    except OSError as error:
        raise DataError(f"{said}: {error.strerror or error}") from None
    if images.single_color_mask(images.as_column(found), column.shape[2]).any():
        raise ValueError(SINGLE_COLOR)
    return found


def known(value: np.floating[Any]) -> float | None:
    """None in place of NaN, which is how a model says that it does not know."""
    return None if np.isnan(value) else float(value)


def _scaled(cell: str, factor: float) -> str | float | None:
    try:
        value = parse_number(cell)
    except ValueError:
        return cell  # the contract says what is wrong with it
    return None if value is None else value * factor
