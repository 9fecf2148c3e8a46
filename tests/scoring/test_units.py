"""Numbers in another unit of the contract: `score` and `predict` refuse the same ones."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.observations import with_column_keys

from creche.contract.arrow_cells import CellFormat, to_numbers
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe
from creche.scoring.frames import predict_table
from creche.scoring.single_row import predict


def test_number_that_overflows_in_the_contracts_unit_is_refused() -> None:
    numbers = pa.array([1.0, None, 1e36, -1e36, 3.4e35])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, errors = to_numbers(numbers, CellFormat(unit_factor=1000.0))
    assert values.to_pylist() == [1000.0, None, None, None, 3.4e38]
    ((reason, mask),) = errors
    assert reason == "not finite"
    assert mask.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("cell", ["1e36", "-1e36", "3.5e35"])
def test_score_and_predict_refuse_it_for_the_same_reason(
    trained_run: tuple[Recipe, RunPaths, object], cell: str
) -> None:
    model = Model(trained_run[1] / MODEL)
    bird = {
        "island": "Dream",
        "bill_length_mm": "50.4",
        "bill_depth_mm": "15.3",
        "flipper_length_mm": "200",
        "body_mass_kg": cell,
    }
    table = pa.table({name: np.array([text], object) for name, text in bird.items()})
    predicted = predict_table(model, table)
    assert predicted.reasons == [["body_mass_g: not finite"]]
    with pytest.raises(DataError, match="refused: body_mass_g: not finite"):
        predict(model, bird)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("-999", "missing"),
        (-999, "missing"),
        ("-999.0", "missing"),
        ("-0.999", "below 1000 g"),
        (-0.999, "below 1000 g"),
    ],
)
def test_number_that_stands_for_a_missing_value_does_so_in_the_unit_of_the_file(
    model: Model, tmp_path: Path, cell: str | float, reason: str
) -> None:
    keys = {"missing_values": ["-999"]}
    altered = with_column_keys(model, "body_mass_g", keys, tmp_path / "model.onnx")
    minimum = altered.contract.columns["body_mass_g"].min
    reason = reason.replace("1000", f"{minimum:g}")
    bird: dict[str, str | float] = {
        "island": "Dream",
        "bill_length_mm": 50.4,
        "bill_depth_mm": 15.3,
        "flipper_length_mm": 200,
        "body_mass_kg": cell,
    }
    table = pa.table({name: [value] for name, value in bird.items()})
    assert predict_table(altered, table).reasons == [[f"body_mass_g: {reason}"]]
    with pytest.raises(DataError, match=f"refused: body_mass_g: {reason}"):
        predict(altered, bird)
