"""The model file: its graph, its golden rows, and the files that are refused."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support.projects import BIRD, ROOT
from support.uncertainty import ood_scores, prediction_sets

from creche.contract.outputs import LABEL, OOD_SCORE, OUTPUTS, PREDICTION_SET, PROBABILITIES
from creche.errors import DataError, ModelError
from creche.model import networks
from creche.model.artifact import Model, Predictions
from creche.model.encoders import CategoryEncoder, OrdinalEncoder
from creche.model.graph import weights
from creche.model.metadata import SECTIONS
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import LEVELS, OodDetector, conformal_threshold
from creche.pipeline.export import export
from creche.pipeline.preprocess import preprocess
from creche.pipeline.validate import validate
from creche.project import (
    MODEL,
    PREPROCESSOR,
    SOURCE,
    SPLIT,
    WEIGHTS,
    RunPaths,
    read_json,
)
from creche.recipe import Recipe, load

TrainedRun = tuple[Recipe, RunPaths, object]


@pytest.fixture(scope="module")
def model(trained_run: TrainedRun) -> Model:
    return Model(trained_run[1] / MODEL)


def birds(**changes: list[object]) -> dict[str, np.ndarray]:
    """One bird in as many rows as the changes have, with the changed columns."""
    count = len(next(iter(changes.values())))
    columns = {name: [value] * count for name, value in BIRD.items()} | changes
    arrays = {}
    for name, values in columns.items():
        arrays[name] = np.array(values, object if name == "island" else float)
    return arrays


def random_birds(count: int = 500) -> dict[str, np.ndarray]:
    """Random rows, some of them unknown to the model, or beyond the limits of its contract."""
    random = np.random.default_rng(0)
    return birds(
        island=random.choice(["Biscoe", "Dream", "Torgersen", "Signy"], count).tolist(),
        bill_length_mm=random.uniform(30, 60, count).tolist(),
        flipper_length_mm=random.uniform(170, 230, count).tolist(),
        body_mass_g=random.choice([3000.0, 4100.0, 5500.0, 3.5, 9000.0, np.nan], count).tolist(),
    )


def encode(model: Model, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns as the scoring engine gives them: codes in place of text."""
    encoded = {}
    for encoder in model.metadata.preprocessor.encoders:
        values = columns[encoder.column]
        if isinstance(encoder, CategoryEncoder):
            encoded[encoder.column] = encoder.codes(values)[:, 0]
        else:
            encoded[encoder.column] = values.astype(np.float32)
    return encoded


def assert_same_bits(actual: Predictions, expected: Predictions) -> None:
    for part in ("probabilities", "ood_score", "sets"):
        assert getattr(actual, part).tobytes() == getattr(expected, part).tobytes(), part


def test_inputs_are_the_raw_columns_one_wide(model: Model) -> None:
    inputs = {value.name: (value.type, value.shape) for value in model.session.get_inputs()}
    expected = {}
    for name in BIRD:
        element_type = "tensor(string)" if name == "island" else "tensor(float)"
        expected[name] = (element_type, ["N", 1])
    assert inputs == expected


def test_outputs_are_the_declared_ones_in_their_order(model: Model) -> None:
    outputs = [(value.name, value.type, value.shape) for value in model.session.get_outputs()]
    assert outputs == [
        (LABEL, "tensor(string)", ["N"]),
        (PROBABILITIES, "tensor(float)", ["N", 3]),
        (OOD_SCORE, "tensor(float)", ["N"]),
        (PREDICTION_SET, "tensor(bool)", ["N", 3]),
    ]
    assert [value[0] for value in outputs] == [output.name for output in OUTPUTS]


def test_graph_has_three_parts_named_by_column_and_operation(model: Model) -> None:
    graph = onnx.load_from_string(model.content).graph
    tensors = {name for node in graph.node for name in node.output}
    inside = tensors - {output.name for output in OUTPUTS}
    assert {name.split("/")[0] for name in inside} == {"preprocessing", "core", "postprocessing"}
    assert "preprocessing/bill_length_mm/standardized" in inside
    assert "preprocessing/island/one_hot" in inside


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("island", "Signy"),
        ("island", ""),
        ("body_mass_g", np.nan),
        ("body_mass_g", np.inf),
        ("bill_depth_mm", -np.inf),
        ("body_mass_g", 3.5),  # kilograms, where the limits are 2000 and 8000 g
        ("body_mass_g", np.nextafter(np.float32(8000), np.float32(9000))),
        ("bill_length_mm", -50.4),
    ],
)
def test_unseen_category_nan_and_number_beyond_a_limit_are_predicted_unknown(
    model: Model, column: str, value: object
) -> None:
    columns = birds(**{column: [value, BIRD[column], value]})
    predictions = model.predict(columns)
    assert np.isnan(predictions.probabilities[[0, 2]]).all()
    assert np.isnan(predictions.ood_score[[0, 2]]).all()
    assert not predictions.sets[[0, 2]].any()
    assert not np.isnan(predictions.probabilities[1]).any()
    assert predictions.labels.tolist() == ["unknown", "Chinstrap", "unknown"]


@pytest.mark.parametrize(
    ("column", "limits"), [("body_mass_g", (2000, 8000)), ("bill_depth_mm", (10, 27))]
)
def test_number_at_a_limit_is_known(model: Model, column: str, limits: tuple[float, float]) -> None:
    predictions = model.predict(birds(**{column: list(limits)}))
    assert not np.isnan(predictions.probabilities).any()


@pytest.mark.parametrize("value", [True, np.True_])
def test_boolean_is_no_number(model: Model, value: object) -> None:
    columns = birds(body_mass_g=[5000.0, 5000.0])
    columns["body_mass_g"] = np.array([5000.0, value], object)
    with pytest.raises(DataError, match="column body_mass_g of the model's input: not a number"):
        model.predict(columns)
    columns["body_mass_g"] = np.array([True, False])
    with pytest.raises(DataError, match="column body_mass_g of the model's input: not a number"):
        model.predict(columns)


def test_label_output_is_the_label_read_off_the_probabilities(model: Model) -> None:
    columns = random_birds()
    feed = {}
    for name, values in columns.items():
        feed[name] = values.astype(object if name == "island" else np.float32)[:, None]
    labels = model.session.run([LABEL], feed)[0]
    assert model.predict(columns).labels.tolist() == labels.tolist()
    assert set(labels) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}


def test_graph_without_strings_predicts_bit_for_bit_the_same(model: Model) -> None:
    columns = random_birds()
    assert_same_bits(model.predict_encoded(encode(model, columns)), model.predict(columns))


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 499])
def test_chunks_are_predicted_bit_for_bit_as_the_whole(model: Model, chunk: int) -> None:
    columns = encode(model, random_birds())
    whole = model.predict_encoded(columns)
    for start in range(0, 500, chunk):
        rows = slice(start, start + chunk)
        part = model.predict_encoded({name: values[rows] for name, values in columns.items()})
        expected = Predictions(
            whole.probabilities[rows], whole.ood_score[rows], whole.sets[rows], whole.classes
        )
        assert_same_bits(part, expected)


@pytest.mark.parametrize("name", ["penguins", "penguins-lab"])
def test_graph_is_numpy_and_torch_put_together(name: str, trained_run: TrainedRun) -> None:
    """All encodings, with and without a validation part, against torch and the numpy
    definitions.
    """
    recipe = load(name, ROOT)
    accepted = validate(trained_run[1].root / "data/penguins.csv", "x", recipe).accepted
    table, preprocessor = preprocess(accepted, recipe)
    torch.manual_seed(0)
    net = networks.build(recipe.network, preprocessor)
    columns = {feature: table[feature].to_numpy() for feature in recipe.features}
    x = preprocessor.transform(columns)
    y = preprocessor.encode_labels(table["species"].to_numpy())
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).softmax(1).numpy()
    content = export(net, preprocessor, recipe, table, "0" * 32)
    predictions = Model.from_bytes(content).predict(columns)
    assert np.abs(predictions.probabilities - expected).max() < 1e-6
    split_names = table["split"].to_numpy()
    calibration = split_names == ("validation" if recipe.split.validation else "train")
    detector = OodDetector.fit(x[split_names == "train"], y[split_names == "train"], x[calibration])
    is_same = np.abs(predictions.ood_score - ood_scores(detector, x)) < 1e-6
    assert is_same[~calibration].all()
    # The distance of a calibration row may be a knot.
    assert is_same.mean() > 1 - len(LEVELS) / len(x)
    rows = split_names == "validation"
    threshold = conformal_threshold(expected[rows], y[rows], 0.9)
    assert (predictions.sets == prediction_sets(predictions.probabilities, threshold)).mean() > 0.99
    assert recipe.split.validation or predictions.sets.all()


def test_export_of_the_same_weights_is_the_same_bytes_and_holds_no_paths(
    trained_run: TrainedRun,
) -> None:
    recipe, paths, _ = trained_run
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    net = networks.build(recipe.network, preprocessor)
    net.load_state_dict(load_file(paths / WEIGHTS))
    table = pq.read_table(paths / SPLIT)
    again = export(net, preprocessor, recipe, table, read_json(paths / SOURCE)["version"])
    assert again == (paths / MODEL).read_bytes()
    for private in (
        str(ROOT),
        str(paths.root),
        "/usr",
        "/root",
        "/home",
        "site-packages",
        ".py",
        socket.gethostname(),
    ):
        assert private.encode() not in again


def test_golden_rows_replay_and_reach_the_edges(model: Model) -> None:
    assert model.verify() == []
    golden = model.metadata.golden
    assert len(golden.label) >= 20
    assert set(golden.label) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}
    label_of_mass = dict(zip(golden.rows["body_mass_g"], golden.label, strict=True))
    assert 6300 in label_of_mass
    for limit, direction in ((2000, 0), (8000, np.inf)):
        beyond = float(np.nextafter(np.float32(limit), np.float32(direction)))
        assert label_of_mass[beyond] == "unknown"


def test_altered_weights_are_noticed_by_the_golden_rows(model: Model) -> None:
    altered = onnx.load_from_string(model.content)
    weight = next(t for t in altered.graph.initializer if t.name.endswith(".weight"))
    weight.raw_data = (-np.frombuffer(weight.raw_data, np.float32)).tobytes()
    assert "golden row" in Model.from_bytes(altered.SerializeToString()).verify()[0]


def test_statistics_are_those_of_the_training_split(model: Model, trained_run: TrainedRun) -> None:
    table = pq.read_table(trained_run[1] / SPLIT).to_pandas()
    training = table[table["split"] == "train"]
    statistics = model.metadata.statistics
    mass = statistics.columns["body_mass_g"]
    assert (mass["rows"], mass["max"]) == (len(training), training["body_mass_g"].max())
    assert sum(mass["histogram"]["counts"]) == len(training)
    islands = statistics.columns["island"]["counts"]
    assert islands == training["island"].value_counts().to_dict()
    assert sum(statistics.classes.values()) == pytest.approx(1)


def test_metadata_states_where_the_model_comes_from(model: Model, trained_run: TrainedRun) -> None:
    recipe, paths, _ = trained_run
    properties = {p.key: p.value for p in onnx.load(paths / MODEL).metadata_props}
    assert set(properties) == {f"creche.{section}" for section in SECTIONS}
    assert model.metadata.provenance.data_version == read_json(paths / SOURCE)["version"]
    assert model.metadata.provenance.recipe_digest == recipe.digest
    assert model.metadata.data.license == "CC0-1.0"
    assert model.contract.columns["body_mass_g"].unit == "g"
    assert json.loads(properties["creche.label"]) == "species"


def test_vocabulary_of_the_lab_is_saved_with_its_model(trained_run: TrainedRun) -> None:
    recipe = load("penguins-lab", ROOT)
    accepted = validate(trained_run[1].root / "data/penguins.csv", "x", recipe).accepted
    island = preprocess(accepted, recipe)[1].encoders[0]
    assert island == OrdinalEncoder("island", ("Biscoe", "Dream", "Torgersen"))


def test_learned_weights_are_readable(trained_run: TrainedRun) -> None:
    saved = load_file(trained_run[1] / WEIGHTS)
    exported = weights((trained_run[1] / MODEL).read_bytes())
    assert set(exported) == set(saved)
    for name, weight in saved.items():
        assert (exported[name] == weight.numpy()).all()


def test_model_file_is_read_without_onnx_and_pydantic(model: Model) -> None:
    code = (
        "import sys; from pathlib import Path; from creche.model.artifact import Model;"
        "assert Model(Path(sys.argv[1])).verify() == [];"
        "print([m for m in ('onnx', 'torch', 'pydantic', 'pyarrow') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(model.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"x.onnx is no model that onnxruntime can load"):
        Model(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"y.onnx: No such file"):
        Model(tmp_path / "y.onnx")


def test_altered_file_is_refused_by_its_digest(model: Model, tmp_path: Path) -> None:
    altered = bytearray(model.path.read_bytes())
    altered[altered.index(b"Torgersen")] ^= 1
    (tmp_path / "x.onnx").write_bytes(altered)
    with pytest.raises(ModelError, match="is not the file that was registered"):
        Model(tmp_path / "x.onnx", model.digest)
