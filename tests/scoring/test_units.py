"""Numbers in another unit of the contract: `score` and `predict` refuse the same ones."""

import warnings

import numpy as np
import pyarrow as pa
import pytest

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
