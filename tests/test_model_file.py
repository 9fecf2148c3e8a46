import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from conftest import BIRD, ROOT
from safetensors.torch import load_file

from creche import networks
from creche.errors import ModelError
from creche.model_file import SECTIONS, Model, weights
from creche.places import MODEL, SOURCE, TRANSFORM, WEIGHTS, Places, read_json
from creche.recipe import Recipe, load
from creche.steps.export import export
from creche.steps.preprocess import preprocess
from creche.steps.validate import validate
from creche.transform import Transform

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
    assert [o.name for o in model.session.get_outputs()] == ["label", "probabilities"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("island", "Signy"), ("island", ""), ("body_mass_g", np.nan), ("body_mass_g", np.inf), ("bill_depth_mm", -np.inf)],
)
def test_what_training_never_saw_is_answered_unknown(model: Model, column: str, value: object) -> None:
    columns = birds(**{column: [value, BIRD[column], value]})
    probabilities = model.probabilities(columns)
    assert np.isnan(probabilities[[0, 2]]).all()
    assert not np.isnan(probabilities[1]).any()
    assert model.labels(probabilities).tolist() == ["unknown", "Chinstrap", "unknown"]


def test_label_in_the_graph_is_the_label_read_off_the_probabilities(model: Model) -> None:
    random = np.random.default_rng(0)
    columns = birds(
        island=random.choice(["Biscoe", "Dream", "Torgersen", "Signy"], 500).tolist(),
        bill_length_mm=random.uniform(30, 60, 500).tolist(),
        body_mass_g=random.choice([3000.0, 5500.0, np.nan], 500).tolist(),
    )
    feed = {n: c.astype(object if n == "island" else np.float32)[:, None] for n, c in columns.items()}
    labels, probabilities = model.session.run(["label", "probabilities"], feed)
    assert model.labels(probabilities).tolist() == labels.tolist()
    assert set(labels) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}


@pytest.mark.parametrize("encoding", ["one-hot", "index"])
def test_graph_and_numpy_transform_agree_with_torch(encoding: str, raised: Raised) -> None:
    recipe = load("penguins" if encoding == "one-hot" else "penguins-lab", ROOT)
    accepted = validate(raised[1].root / "data/penguins.csv", "x", recipe).accepted
    table, transform = preprocess(accepted, recipe)
    torch.manual_seed(0)
    net = networks.build(recipe.network, transform.width, 3)
    columns = {n: table[n].to_numpy() for n in recipe.features}
    with torch.inference_mode():
        expected = net(torch.from_numpy(transform.apply(columns))).softmax(1).numpy()
    path = raised[1].folder / f"{encoding}.onnx"
    path.write_bytes(export(net, transform, recipe, "0" * 32))
    assert np.abs(Model(path).probabilities(columns) - expected).max() < 1e-6


def test_export_of_the_same_weights_is_the_same_bytes_and_tells_no_paths(raised: Raised) -> None:
    recipe, places, _ = raised
    transform = Transform.from_dict({k: v for k, v in read_json(places / TRANSFORM).items() if k != "counts"})
    net = networks.build(recipe.network, transform.width, 3)
    net.load_state_dict(load_file(places / WEIGHTS))
    again = export(net, transform, recipe, read_json(places / SOURCE)["version"])
    assert again == (places / MODEL).read_bytes()
    for private in (str(ROOT), str(places.root), "/usr", "/root", "/home", "site-packages", ".py"):
        assert private.encode() not in again


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
    found = weights(raised[1] / MODEL)
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
