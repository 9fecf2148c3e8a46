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
from safetensors.torch import load_file
from support.projects import BIRD, ROOT

from creche.errors import ModelError
from creche.model import networks
from creche.model.artifact import SECTIONS, Model, Predictions
from creche.model.graph import weights
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import OodDetector, conformal_threshold, prediction_sets
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

Raised = tuple[Recipe, RunPaths, object]


@pytest.fixture(scope="module")
def model(trained_run: Raised) -> Model:
    return Model(trained_run[1] / MODEL)


def birds(**changes: list[object]) -> dict[str, np.ndarray]:
    count = len(next(iter(changes.values())))
    columns = {n: [v] * count for n, v in BIRD.items()} | changes
    return {n: np.array(v, object if n == "island" else float) for n, v in columns.items()}


def test_inputs_are_the_raw_columns_one_wide(model: Model) -> None:
    inputs = {i.name: (i.type, i.shape) for i in model.session.get_inputs()}
    assert inputs == {
        n: ("tensor(string)" if n == "island" else "tensor(float)", ["N", 1]) for n in BIRD
    }
    outputs = {o.name: (o.type, len(o.shape)) for o in model.session.get_outputs()}
    assert outputs == {
        "label": ("tensor(string)", 1),
        "probabilities": ("tensor(float)", 2),
        "ood_score": ("tensor(float)", 1),
        "prediction_set": ("tensor(bool)", 2),
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("island", "Signy"),
        ("island", ""),
        ("body_mass_g", np.nan),
        ("body_mass_g", np.inf),
        ("bill_depth_mm", -np.inf),
    ],
)
def test_what_training_never_saw_is_answered_unknown(
    model: Model, column: str, value: object
) -> None:
    columns = birds(**{column: [value, BIRD[column], value]})
    predictions = model.predict(columns)
    assert np.isnan(predictions.probabilities[[0, 2]]).all()
    assert np.isnan(predictions.ood_score[[0, 2]]).all()
    assert not predictions.sets[[0, 2]].any()
    assert not np.isnan(predictions.probabilities[1]).any()
    assert predictions.labels.tolist() == ["unknown", "Chinstrap", "unknown"]


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
    feed = {
        n: c.astype(object if n == "island" else np.float32)[:, None] for n, c in columns.items()
    }
    labels = model.session.run(["label"], feed)[0]
    assert model.predict(columns).labels.tolist() == labels.tolist()
    assert set(labels) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}


def coded(model: Model, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    codes = {n: {v: i for i, v in enumerate(values)} for n, values in model.vocabularies.items()}
    return {
        n: np.array([codes[n].get(v, np.nan) for v in c], np.float32)
        if n in codes
        else c.astype(np.float32)
        for n, c in columns.items()
    }


def same(one: Predictions, two: Predictions) -> bool:
    parts = ("probabilities", "ood_score", "sets")
    return all(getattr(one, p).tobytes() == getattr(two, p).tobytes() for p in parts)


def test_graph_without_strings_answers_bit_for_bit_the_same(model: Model) -> None:
    assert same(model.predict(many()), model.predict_encoded(coded(model, many())))


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 499])
def test_chunks_answer_bit_for_bit_as_the_whole(model: Model, chunk: int) -> None:
    columns = coded(model, many())
    whole = model.predict_encoded(columns)
    for start in range(0, 500, chunk):
        rows = slice(start, start + chunk)
        part = model.predict_encoded({n: c[rows] for n, c in columns.items()})
        expected = Predictions(
            whole.probabilities[rows], whole.ood_score[rows], whole.sets[rows], whole.classes
        )
        assert same(part, expected)


@pytest.mark.parametrize("name", ["penguins", "penguins-lab"])
def test_graph_is_numpy_and_torch_put_together(
    name: str, trained_run: Raised, tmp_path: Path
) -> None:
    """One-hot and index codes, with and without a validation part, against torch and the numpy
    definitions.
    """
    recipe = load(name, ROOT)
    accepted = validate(trained_run[1].root / "data/penguins.csv", "x", recipe).accepted
    table, transform = preprocess(accepted, recipe)
    torch.manual_seed(0)
    net = networks.build(recipe.network, transform)
    columns = {n: table[n].to_numpy() for n in recipe.features}
    x, y = transform.apply(columns), transform.encode(table["species"].to_numpy())
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).softmax(1).numpy()
    predictions = Model.from_bytes(export(net, transform, recipe, table, "0" * 32)).predict(columns)
    assert np.abs(predictions.probabilities - expected).max() < 1e-6
    side = table["side"].to_numpy()
    calibration = side == ("validation" if recipe.split.validation else "train")
    ood_score = OodDetector.fit(x[side == "train"], y[side == "train"], x[calibration])
    assert (
        np.abs(predictions.ood_score - ood_score.share(x)) < 1e-6
    ).mean() > 0.98  # a distance may sit on a knot
    rows = side == "validation"
    threshold = conformal_threshold(expected[rows], y[rows], 0.9)
    assert (predictions.sets == prediction_sets(predictions.probabilities, threshold)).mean() > 0.99
    assert recipe.split.validation or predictions.sets.all()


def test_export_of_the_same_weights_is_the_same_bytes_and_tells_no_paths(
    trained_run: Raised,
) -> None:
    recipe, paths, _ = trained_run
    transform = Preprocessor.from_dict(
        {k: v for k, v in read_json(paths / PREPROCESSOR).items() if k != "counts"}
    )
    net = networks.build(recipe.network, transform)
    net.load_state_dict(load_file(paths / WEIGHTS))
    table = pq.read_table(paths / SPLIT)
    again = export(net, transform, recipe, table, read_json(paths / SOURCE)["version"])
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
    golden = model.metadata["golden"]
    assert len(golden["label"]) >= 20
    assert set(golden["label"]) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}
    assert max(v for v in golden["rows"]["body_mass_g"] if v is not None) == 6300


def test_altered_weights_are_noticed_by_the_golden_rows(model: Model) -> None:
    altered = onnx.load_from_string(model.content)
    weight = next(t for t in altered.graph.initializer if t.name.endswith(".weight"))
    weight.raw_data = (-np.frombuffer(weight.raw_data, np.float32)).tobytes()
    assert "golden row" in Model.from_bytes(altered.SerializeToString()).verify()[0]


def test_statistics_are_those_of_the_training_side(model: Model, trained_run: Raised) -> None:
    table = pq.read_table(trained_run[1] / SPLIT).to_pandas()
    training = table[table["side"] == "train"]
    mass = model.metadata["statistics"]["columns"]["body_mass_g"]
    assert (mass["rows"], mass["max"]) == (len(training), training["body_mass_g"].max())
    assert sum(mass["histogram"]["counts"]) == len(training)
    islands = model.metadata["statistics"]["columns"]["island"]["counts"]
    assert islands == training["island"].value_counts().to_dict()
    assert sum(model.metadata["statistics"]["classes"].values()) == pytest.approx(1)


def test_metadata_tells_where_the_model_comes_from(model: Model, trained_run: Raised) -> None:
    recipe, paths, _ = trained_run
    properties = {p.key: p.value for p in onnx.load(paths / MODEL).metadata_props}
    assert set(properties) == {f"creche.{s}" for s in SECTIONS}
    assert model.metadata["provenance"]["data_version"] == read_json(paths / SOURCE)["version"]
    assert model.metadata["provenance"]["recipe_digest"] == recipe.digest
    assert model.metadata["data"]["license"] == "CC0-1.0"
    assert model.contract.columns["body_mass_g"].unit == "g"
    assert json.loads(properties["creche.label"]) == "species"


def test_numbering_of_the_lab_is_saved_with_its_model(trained_run: Raised) -> None:
    recipe = load("penguins-lab", ROOT)
    accepted = validate(trained_run[1].root / "data/penguins.csv", "x", recipe).accepted
    island = preprocess(accepted, recipe)[1].features[0]
    assert (island.kind, island.vocabulary) == ("ordinal", ("Biscoe", "Dream", "Torgersen"))


def test_learned_weights_are_readable(trained_run: Raised) -> None:
    saved = load_file(trained_run[1] / WEIGHTS)
    found = weights((trained_run[1] / MODEL).read_bytes())
    assert set(found) == set(saved)
    for name, weight in saved.items():
        assert (found[name] == weight.numpy()).all()


def test_data_frame_goes_through_mlflow_pyfunc(model: Model, tmp_path: Path) -> None:
    import mlflow.pyfunc

    from creche.registry.mlflow_model import save_mlflow_model

    save_mlflow_model(model.path, tmp_path / "model")
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
