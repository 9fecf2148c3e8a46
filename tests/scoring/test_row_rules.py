"""Rules across columns that a model file carries refuse rows in scoring."""

import json
from typing import Any

import onnx
import pyarrow as pa
import pytest
from onnx import helper
from support.projects import BIRD

from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe
from creche.scoring.frames import predict_table
from creche.scoring.single_row import predict

TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]
RULES = [
    {"check": "bill_depth_mm * 2 < bill_length_mm", "reason": "bill: deeper than long"},
    {"check": "body_mass_g >= 3000", "when": "island == Dream", "reason": "too light for Dream"},
]


@pytest.fixture(scope="module")
def model(trained_run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The penguins model with rules across columns."""
    trained = Model(trained_run[1] / MODEL)
    altered = onnx.load_from_string(trained.content)
    helper.set_model_props(
        altered, trained.metadata.to_properties() | {"creche.rules": json.dumps(RULES)}
    )
    path = tmp_path_factory.mktemp("rules") / "x.onnx"
    onnx.save(altered, path)
    return Model(path)


def test_batch_quarantines_rows_that_break_a_rule(model: Model) -> None:
    deep = BIRD | {"bill_depth_mm": "26"}
    light = BIRD | {"body_mass_g": "2500"}
    elsewhere = light | {"island": "Biscoe"}
    rows = [BIRD, deep, light, elsewhere]
    table = pa.Table.from_pylist(rows)
    predicted = predict_table(model, table)
    assert predicted.refused["row"].to_pylist() == [2, 3]
    assert predicted.refused["reasons"].to_pylist() == [[RULES[0]["reason"]], [RULES[1]["reason"]]]


def test_single_row_that_breaks_a_rule_is_refused(model: Model) -> None:
    assert predict(model, BIRD).label
    with pytest.raises(DataError, match="this observation is refused: too light for Dream"):
        predict(model, BIRD | {"body_mass_g": "2500"})


def test_file_of_the_model_is_read_again_with_its_rules(model: Model) -> None:
    assert [rule.to_dict() for rule in model.contract.row_rules] == RULES
