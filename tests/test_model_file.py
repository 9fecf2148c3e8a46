import hashlib
import json
import socket
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import BIRD, ROOT
from safetensors.torch import load_file

from creche import networks
from creche.errors import ModelError
from creche.graph import weights
from creche.model_file import SECTIONS, Answers, Model
from creche.places import MODEL, SOURCE, SPLIT, TRANSFORM, WEIGHTS, Places, read_json
from creche.recipe import Recipe, load
from creche.steps.export import export
from creche.steps.preprocess import preprocess
from creche.steps.validate import validate
from creche.transform import Transform
from creche.uncertainty import Typicality, conformal_threshold, prediction_sets

Raised = tuple[Recipe, Places, object]


@pytest.fixture(scope="module")
def model(raised: Raised) -> Model:
    return Model(raised[1] / MODEL)


def birds(**changes: list[object]) -> dict[str, np.ndarray]:
    count = len(next(iter(changes.values())))
    columns = {n: [v] * count for n, v in BIRD.items()} | changes
    return {n: np.array(v, object if n == "island" else float) for n, v in columns.items()}


def test_inputs_are_the_raw_columns_one_wide(model: Model) -> None:
    inputs = {i.name: (i.type, i.shape) for i in model.session.get_inputs()}
    assert inputs == {n: ("tensor(string)" if n == "island" else "tensor(float)", ["N", 1]) for n in BIRD}
    outputs = {o.name: (o.type, len(o.shape)) for o in model.session.get_outputs()}
    assert outputs == {
        "label": ("tensor(string)", 1),
        "probabilities": ("tensor(float)", 2),
        "typicality": ("tensor(float)", 1),
        "prediction_set": ("tensor(bool)", 2),
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [("island", "Signy"), ("island", ""), ("body_mass_g", np.nan), ("body_mass_g", np.inf), ("bill_depth_mm", -np.inf)],
)
def test_what_training_never_saw_is_answered_unknown(model: Model, column: str, value: object) -> None:
    columns = birds(**{column: [value, BIRD[column], value]})
    answers = model.answer(columns)
    assert np.isnan(answers.probabilities[[0, 2]]).all()
    assert np.isnan(answers.typicality[[0, 2]]).all()
    assert not answers.sets[[0, 2]].any()
    assert not np.isnan(answers.probabilities[1]).any()
    assert answers.labels.tolist() == ["unknown", "Chinstrap", "unknown"]


def many(count: int = 500) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return birds(
        island=random.choice(["Biscoe", "Dream", "Torgersen", "Signy"], count).tolist(),
        bill_length_mm=random.uniform(30, 60, count).tolist(),
        flipper_length_mm=random.uniform(170, 230, count).tolist(),
        body_mass_g=random.choice([3000.0, 4100.0, 5500.0, np.nan], count).tolist(),
    )


def test_label_in_the_graph_is_the_label_read_off_the_probabilities(model: Model) -> None:
    columns = many()
    feed = {n: c.astype(object if n == "island" else np.float32)[:, None] for n, c in columns.items()}
    labels = model.session.run(["label"], feed)[0]
    assert model.answer(columns).labels.tolist() == labels.tolist()
    assert set(labels) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}


def coded(model: Model, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    codes = {n: {v: i for i, v in enumerate(values)} for n, values in model.vocabularies.items()}
    return {
        n: np.array([codes[n].get(v, np.nan) for v in c], np.float32) if n in codes else c.astype(np.float32)
        for n, c in columns.items()
    }


def same(one: Answers, two: Answers) -> bool:
    parts = ("probabilities", "typicality", "sets")
    return all(getattr(one, p).tobytes() == getattr(two, p).tobytes() for p in parts)


def test_graph_without_strings_answers_bit_for_bit_the_same(model: Model) -> None:
    assert same(model.answer(many()), model.answer_codes(coded(model, many())))


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 499])
def test_chunks_answer_bit_for_bit_as_the_whole(model: Model, chunk: int) -> None:
    columns = coded(model, many())
    whole = model.answer_codes(columns)
    for start in range(0, 500, chunk):
        rows = slice(start, start + chunk)
        part = model.answer_codes({n: c[rows] for n, c in columns.items()})
        expected = Answers(whole.probabilities[rows], whole.typicality[rows], whole.sets[rows], whole.classes)
        assert same(part, expected)


@pytest.mark.parametrize("name", ["penguins", "penguins-lab"])
def test_graph_is_numpy_and_torch_put_together(name: str, raised: Raised, tmp_path: Path) -> None:
    """One-hot and index codes, with and without a validation part, against torch and the numpy definitions."""
    recipe = load(name, ROOT)
    accepted = validate(raised[1].root / "data/penguins.csv", "x", recipe).accepted
    table, transform = preprocess(accepted, recipe)
    torch.manual_seed(0)
    net = networks.build(recipe.network, transform)
    columns = {n: table[n].to_numpy() for n in recipe.features}
    x, y = transform.apply(columns), transform.encode(table["species"].to_numpy())
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).softmax(1).numpy()
    answers = Model.from_bytes(export(net, transform, recipe, table, "0" * 32)).answer(columns)
    assert np.abs(answers.probabilities - expected).max() < 1e-6
    side = table["side"].to_numpy()
    calibration = side == ("validation" if recipe.split.validation else "train")
    typicality = Typicality.fit(x[side == "train"], y[side == "train"], x[calibration])
    assert (np.abs(answers.typicality - typicality.share(x)) < 1e-6).mean() > 0.98  # a distance may sit on a knot
    rows = side == "validation"
    threshold = conformal_threshold(expected[rows], y[rows], 0.9)
    assert (answers.sets == prediction_sets(answers.probabilities, threshold)).mean() > 0.99
    assert recipe.split.validation or answers.sets.all()


def test_export_of_the_same_weights_is_the_same_bytes_and_tells_no_paths(raised: Raised) -> None:
    recipe, places, _ = raised
    transform = Transform.from_dict({k: v for k, v in read_json(places / TRANSFORM).items() if k != "counts"})
    net = networks.build(recipe.network, transform)
    net.load_state_dict(load_file(places / WEIGHTS))
    table = pq.read_table(places / SPLIT)
    again = export(net, transform, recipe, table, read_json(places / SOURCE)["version"])
    assert again == (places / MODEL).read_bytes()
    for private in (str(ROOT), str(places.root), "/usr", "/root", "/home", "site-packages", ".py", socket.gethostname()):
        assert private.encode() not in again


def test_golden_rows_replay_and_reach_the_edges(model: Model) -> None:
    assert model.verify() == []
    golden = model.metadata["golden"]
    assert len(golden["label"]) >= 20
    assert set(golden["label"]) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}
    assert max(v for v in golden["rows"]["body_mass_g"] if v is not None) == 6300


def test_altered_weights_are_noticed_by_the_golden_rows(model: Model) -> None:
    altered = onnx.load_from_string(model.content)
    weight = next(t for t in altered.graph.initializer if t.name.endswith(".weight"))
    weight.raw_data = (-np.frombuffer(weight.raw_data, np.float32)).tobytes()
    assert "golden row" in Model.from_bytes(altered.SerializeToString()).verify()[0]


def test_statistics_are_those_of_the_training_side(model: Model, raised: Raised) -> None:
    table = pq.read_table(raised[1] / SPLIT).to_pandas()
    training = table[table["side"] == "train"]
    mass = model.metadata["statistics"]["columns"]["body_mass_g"]
    assert (mass["rows"], mass["max"]) == (len(training), training["body_mass_g"].max())
    assert sum(mass["histogram"]["counts"]) == len(training)
    islands = model.metadata["statistics"]["columns"]["island"]["counts"]
    assert islands == training["island"].value_counts().to_dict()
    assert sum(model.metadata["statistics"]["classes"].values()) == pytest.approx(1)


def test_metadata_tells_where_the_model_comes_from(model: Model, raised: Raised) -> None:
    recipe, places, _ = raised
    properties = {p.key: p.value for p in onnx.load(places / MODEL).metadata_props}
    assert set(properties) == {f"creche.{s}" for s in SECTIONS}
    assert model.metadata["provenance"]["data_version"] == read_json(places / SOURCE)["version"]
    assert model.metadata["provenance"]["recipe_digest"] == recipe.digest
    assert model.metadata["data"]["licence"] == "CC0-1.0"
    assert model.contract.columns["body_mass_g"].unit == "g"
    assert json.loads(properties["creche.label"]) == "species"


def test_numbering_of_the_lab_is_saved_with_its_model(raised: Raised) -> None:
    recipe = load("penguins-lab", ROOT)
    accepted = validate(raised[1].root / "data/penguins.csv", "x", recipe).accepted
    island = preprocess(accepted, recipe)[1].features[0]
    assert (island.kind, island.vocabulary) == ("index", ("Biscoe", "Dream", "Torgersen"))


def test_learned_weights_are_readable(raised: Raised) -> None:
    saved = load_file(raised[1] / WEIGHTS)
    found = weights((raised[1] / MODEL).read_bytes())
    assert set(found) == set(saved)
    for name, weight in saved.items():
        assert (found[name] == weight.numpy()).all()


def test_data_frame_goes_through_mlflow_pyfunc(model: Model, tmp_path: Path) -> None:
    import mlflow.pyfunc

    from creche.registry import _mlflow_model

    _mlflow_model(model.path, tmp_path / "model")
    assert hashlib.sha256((tmp_path / "model/model.onnx").read_bytes()).hexdigest() == model.digest
    frame = pd.DataFrame({n: [v if n == "island" else np.float32(v)] * 3 for n, v in BIRD.items()})
    answer = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame)
    assert list(answer["label"]) == ["Chinstrap"] * 3


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"x.onnx is no model that onnxruntime can load"):
        Model(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"y.onnx: No such file"):
        Model(tmp_path / "y.onnx")


def test_model_of_others_is_refused(model: Model, tmp_path: Path) -> None:
    foreign = onnx.load(model.path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="not one of creche's"):
        Model(tmp_path / "x.onnx")


def test_altered_file_is_refused_by_its_digest(model: Model, tmp_path: Path) -> None:
    altered = bytearray(model.path.read_bytes())
    altered[altered.index(b"Torgersen")] ^= 1
    (tmp_path / "x.onnx").write_bytes(altered)
    with pytest.raises(ModelError, match="is not the file that was registered"):
        Model(tmp_path / "x.onnx", model.digest)
