"""A model file whose label is decided on by class weights."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator
from safetensors.torch import load_file

from creche.cli.model_files import _description
from creche.contract.outputs import LABEL, PREDICTION_SET, PROBABILITIES
from creche.data import pixel_store
from creche.errors import ModelError
from creche.model import networks
from creche.model.artifact import Model
from creche.model.metadata import ModelMetadata, metadata_schemas
from creche.model.preprocessor import Preprocessor
from creche.pipeline.evaluate import measure
from creche.pipeline.export import export
from creche.project import MODEL, PREPROCESSOR, SPLIT, WEIGHTS, RunPaths, read_json
from creche.recipe import Recipe
from creche.recipe.metrics import OptimizedDecision
from creche.scoring.frames import predict_table
from creche.scoring.single_row import predict

TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]
SPECIES = ("Adelie", "Chinstrap", "Gentoo")
# So large that a bird that is hardly a Chinstrap is called one.
COST = {
    "Adelie": {"Chinstrap": 0.001, "Gentoo": 1},
    "Chinstrap": {"Adelie": 1000, "Gentoo": 1000},
    "Gentoo": {"Adelie": 1, "Chinstrap": 0.001},
}


@pytest.fixture(scope="module")
def exported(trained_run: TrainedRun) -> tuple[bytes, Recipe, Any]:
    """A model whose weights are chosen by cost, its recipe, and its rows."""
    recipe, paths, _ = trained_run
    changes = {"cost": COST, "decision": OptimizedDecision(minimize="cost")}
    recipe = recipe.model_copy(update=changes)
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    net = networks.build(recipe.network, preprocessor)
    net.load_state_dict(load_file(paths / WEIGHTS))
    table = pixel_store.read_table(paths / SPLIT, paths)
    return export(net, preprocessor, recipe, table, "0" * 32), recipe, table


def with_weights(content: bytes, weights: dict[str, float]) -> Model:
    """Return a model file with other weights in its graph and its metadata."""
    altered = onnx.load_from_string(content)
    for constant in altered.graph.initializer:
        if constant.name == "postprocessing/decision_weights":
            values = np.array([[weights[name]] for name in SPECIES], np.float32)
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    for entry in altered.metadata_props:
        if entry.key == "creche.decision":
            entry.value = json.dumps({**json.loads(entry.value), "weights": weights})
    return Model.from_bytes(altered.SerializeToString())


@pytest.fixture(scope="module")
def model(exported: tuple[bytes, Recipe, Any]) -> Model:
    """A model that calls many birds a Chinstrap."""
    return with_weights(exported[0], {"Adelie": 1.0, "Chinstrap": 300.0, "Gentoo": 0.5})


def birds(model: Model, count: int = 400) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {}
    for name, column in model.contract.columns.items():
        if column.values:
            columns[name] = generator.choice([*column.values, "Signy"], count).astype(object)
        else:
            columns[name] = generator.uniform(column.min, column.max, count)
    return columns


def test_graph_decides_as_python_does(model: Model) -> None:
    columns = birds(model)
    feed = {}
    for name, column in model.contract.columns.items():
        feed[name] = column.type.model_input(columns[name], column)
    label, probabilities, sets = model.session.run([LABEL, PROBABILITIES, PREDICTION_SET], feed)
    predictions = model.predict(columns)
    assert predictions.labels.tolist() == label.tolist()
    known = predictions.is_known
    weighted = probabilities[known] * model.decision_weights
    decided = np.array(SPECIES, object)[weighted.argmax(axis=1)]
    assert label[known].tolist() == decided.tolist()
    most_likely = np.array(SPECIES, object)[probabilities[known].argmax(axis=1)]
    assert (most_likely != decided).any()
    assert (label[~known] == "unknown").all()
    # The class that is decided on and the most likely one are in the set.
    for classes in (decided, most_likely):
        codes = [SPECIES.index(name) for name in classes]
        assert sets[known][np.arange(len(codes)), codes].all()
    assert not sets[~known].any()


def test_every_way_to_predict_decides_alike(model: Model) -> None:
    columns = birds(model, 40)
    labels = model.predict(columns).labels.tolist()
    table = pa.table({name: values.tolist() for name, values in columns.items()})
    predicted = predict_table(model, table)
    accepted = predicted.row_numbers - 1
    assert predicted.labels.to_pylist() == [labels[row] for row in accepted]
    assert len(accepted)
    for row in accepted[:10]:
        cells = {name: str(values[row]) for name, values in columns.items()}
        assert predict(model, cells).label == labels[row]


def test_weights_are_chosen_on_the_validation_rows_and_evaluated(
    exported: tuple[bytes, Recipe, Any], tmp_path: Path
) -> None:
    content, recipe, table = exported
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    decision = Model(path).metadata.decision
    assert decision.metric == "expected_cost"
    assert decision.value <= decision.value_of_most_likely
    assert decision.rows == sum(split == "validation" for split in table["split"].to_pylist())
    evaluation = measure(path, table, recipe).evaluation
    assert evaluation.decision.weights == decision.weights
    assert evaluation.metrics["expected_cost"].value is not None
    assert Model(path).verify() == []


def test_metadata_of_a_decision_are_read_as_written(model: Model) -> None:
    properties = model.metadata.to_properties()
    metadata = ModelMetadata.from_properties(properties, "x")
    assert metadata == model.metadata
    Draft202012Validator(metadata_schemas()["decision"]).validate(asdict(metadata.decision))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"Adelie": 1.0}}, "x: creche.decision weights Adelie, and the classes are"),
        ({"weights": {"Adelie": 0.0}}, "'weights.Adelie' is 0"),
        ({"rows": "many"}, "'rows' is 'many', not a whole number"),
        ({"factor": 2}, "has an unknown key 'factor'"),
    ],
)
def test_decision_that_is_not_as_stated_is_refused(
    model: Model, change: dict[str, Any], message: str
) -> None:
    decision = {**asdict(model.metadata.decision), **change}
    properties = model.metadata.to_properties() | {"creche.decision": json.dumps(decision)}
    with pytest.raises(ModelError) as error:
        ModelMetadata.from_properties(properties, "x")
    assert message in str(error.value)


def test_graph_without_a_decision_is_as_it_was(trained_run: TrainedRun) -> None:
    _, paths, _ = trained_run
    model = Model(paths / MODEL)
    assert model.decision_weights is None
    names = [node.output[0] for node in onnx.load_from_string(model.content).graph.node]
    assert not [name for name in names if "weighted" in name or "decided" in name]
    assert "creche.decision" not in model.metadata.to_properties()


def test_show_states_the_weights(model: Model) -> None:
    text = "\n".join(_description(model))
    assert "the largest probability times weight: Adelie 1, Chinstrap 300, Gentoo 0.5" in text
    assert "validation rows for expected cost" in text
