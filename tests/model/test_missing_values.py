"""A model of a table with holes, rare values, ordered values and codes: all ways to predict a row
of it agree.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml

from creche.cli.model_files import _description as description
from creche.data import pixel_store
from creche.data.placement import group_hashes
from creche.data.split import holdout_rows, training_rows, validation_rows
from creche.errors import DataError, RecipeError
from creche.evaluation.behavior import run_behavior_test
from creche.evaluation.ood import ood_metrics
from creche.evaluation.slices import holdout_slices
from creche.evaluation.unknown import unknown_predictions
from creche.model import networks
from creche.model.artifact import Model
from creche.model.encoders import CategoryEncoder
from creche.model.export import torch_probabilities
from creche.model.graph import weights
from creche.pipeline.export import export
from creche.pipeline.preprocess import preprocess
from creche.pipeline.validate import validate
from creche.recipe import BehaviorTest, Recipe, load
from creche.scoring.frames import predict_table
from creche.scoring.single_row import predict
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network

ROWS = 400
CONTENT: dict[str, Any] = {
    "description": "test",
    "data": {"path": "data/table.csv"},
    "columns": {
        "age": {"kind": "number", "min": 1, "max": 100, "missing": "allow"},
        "height": {"kind": "number", "missing": "allow"},  # no training row lacks it
        "income": {"kind": "number", "missing": "allow"},
        "weight": {"kind": "number"},
        "city": {"kind": "category", "missing": "allow", "unseen": "other"},
        "shop": {"kind": "category", "unseen": "other"},
        "color": {"kind": "category", "values": ["red", "blue"], "missing": "allow"},
        "grade": {
            "kind": "category",
            "values": ["low", "medium", "high"],
            "ordered": True,
            "missing": "allow",
        },
        "size": {"kind": "category", "values": ["S", "M", "L"], "ordered": True},
        "bought": {"kind": "category", "values": ["yes", "no"]},
    },
    "label": "bought",
    "features": {
        "age": "standardize",
        "height": "standardize",
        "income": "robust",
        "weight": "passthrough",
        "city": {"one_hot": {"min_rows": 5, "max_values": 4}},
        "shop": {"embedding": {"width": 3, "min_rows": 4}},
        "color": "one-hot",
        "grade": "thermometer",
        "size": "ordinal",
    },
    "network": {"kind": "mlp", "hidden": [8]},
    "training": {
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "epochs": 3,
        "batch_size": 64,
        "seed": 0,
        "checkpoint_selection": "last",
    },
    "gate": {"accuracy": 0.1},
    "split": {"validation": 0.2, "holdout": 0.2, "seed": 0},
}
COMPLETE = {
    "age": "30",
    "height": "1.7",
    "income": "3e4",
    "weight": "0.5",
    "city": "c1",
    "shop": "s1",
    "color": "red",
    "grade": "low",
    "size": "M",
}


def table_with_holes() -> pd.DataFrame:
    """Return a table of text, as a file has it."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, ROWS),
            "height": random.normal(1.7, 0.1, ROWS).round(2),
            "income": np.exp(random.normal(10, 2, ROWS)).round(),
            "weight": random.random(ROWS).round(3),
            "city": [f"c{number}" for number in random.geometric(0.3, ROWS)],
            "shop": [f"s{number}" for number in random.geometric(0.05, ROWS)],
            "color": random.choice(["red", "blue"], ROWS),
            "grade": random.choice(["low", "medium", "high"], ROWS),
            "size": random.choice(["S", "M", "L"], ROWS),
        }
    ).astype(str)
    for name in ("age", "income", "city", "color", "grade"):
        frame.loc[random.random(ROWS) < 0.2, name] = random.choice(["", "NA"])
    frame["bought"] = np.where(frame["income"].replace(["", "NA"], "0").astype(float) > 2e4, 1, 0)
    frame["bought"] = frame["bought"].map({1: "yes", 0: "no"})
    return frame


def recipe_of(folder: Path, **columns: dict[str, object]) -> Recipe:
    """Write the recipe with further keys of some columns."""
    content = CONTENT | {"columns": CONTENT["columns"] | columns}
    (folder / "shop.yaml").write_text(yaml.safe_dump(content))
    return load(str(folder / "shop.yaml"), folder)


class Trained(NamedTuple):
    """A model that was trained for a few epochs."""

    recipe: Recipe
    model: Model
    table: pa.Table  # the accepted rows with their split
    net: torch.nn.Module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("holes")
    table_with_holes().to_csv(folder / "table.csv", index=False)
    recipe = recipe_of(folder)
    validated = validate(folder / "table.csv", "table.csv", recipe)
    assert validated.report.quarantined == 0
    table, preprocessor = preprocess(validated.accepted, recipe)
    parts = []
    for part in (training_rows(table), validation_rows(table)):
        columns = pixel_store.model_arrays(part, recipe.contract().subset(recipe.features))
        labels = preprocessor.encode_labels(part["bought"].to_numpy())
        features = torch.from_numpy(preprocessor.transform(columns))
        parts.append(LabeledTensors(features, torch.from_numpy(labels)))
    state, _ = train_network(recipe, preprocessor, *parts)
    net = networks.build(recipe.network, preprocessor)
    net.load_state_dict(state)
    content = export(net, preprocessor, recipe, table, "0" * 32)
    (folder / "model.onnx").write_bytes(content)
    return Trained(recipe, Model(folder / "model.onnx"), table, net)


def inputs_of(table: pa.Table, model: Model) -> dict[str, np.ndarray]:
    """Return the model's input arrays."""
    return pixel_store.model_arrays(table, model.contract)


def test_graph_is_numpy_and_torch_put_together(trained: Trained) -> None:
    inputs = inputs_of(trained.table, trained.model)
    features = trained.model.metadata.preprocessor.transform(inputs)
    assert np.isfinite(features).all()
    predictions = trained.model.predict(inputs)
    assert predictions.is_known.all()
    expected = torch_probabilities(trained.net, features)
    assert np.abs(predictions.probabilities - expected).max() < 1e-6


def encoded(model: Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return input arrays as the scoring engine gives them: codes in place of text."""
    columns = {}
    for encoder in model.metadata.preprocessor.encoders:
        values = inputs[encoder.column]
        if isinstance(encoder, CategoryEncoder):
            columns[encoder.column] = encoder.codes(values)[:, 0]
        else:
            columns[encoder.column] = values.astype(np.float32)
    return columns


def rows_at_the_edges() -> pd.DataFrame:
    """Return rows of text with a missing, unseen or refused value in each column in turn."""
    rows = [COMPLETE]
    for name in COMPLETE:
        for cell in ("", "NA", "never seen", "1e9", "c2", "red"):
            rows.append({**COMPLETE, name: cell})
    return pd.DataFrame(rows)


def test_graph_without_strings_predicts_bit_for_bit_the_same(trained: Trained) -> None:
    inputs = inputs_of(trained.table, trained.model)
    for name, cell in (("city", "unseen"), ("shop", "unseen"), ("color", "unseen"), ("shop", "")):
        inputs[name] = np.where(np.arange(len(inputs[name])) % 7 == 0, cell, inputs[name])
    expected = trained.model.predict(inputs)
    actual = trained.model.predict_encoded(encoded(trained.model, inputs))
    for part in ("probabilities", "ood_score", "sets"):
        assert getattr(actual, part).tobytes() == getattr(expected, part).tobytes(), part


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_single_row_is_predicted_and_refused_as_in_a_table(
    trained: Trained, as_dictionary: bool
) -> None:
    rows = rows_at_the_edges()
    table = pa.Table.from_pandas(rows)
    if as_dictionary:
        columns = [column.combine_chunks().dictionary_encode() for column in table.columns]
        table = pa.table(columns, table.column_names)
    predicted = predict_table(trained.model, table)
    labels = dict(zip(predicted.row_numbers, predicted.labels.to_pylist(), strict=True))
    scores = dict(zip(predicted.row_numbers, predicted.ood_score, strict=True))
    reasons = dict(zip(predicted.refused_row_numbers, predicted.reasons, strict=True))
    for number, row in enumerate(rows.to_dict("records"), 1):
        try:
            prediction = predict(trained.model, row)
        except DataError as error:
            assert all(reason in str(error) for reason in reasons[number])
            continue
        assert labels[number] == prediction.label
        is_known = prediction.ood_score is not None
        assert scores[number] == prediction.ood_score if is_known else np.isnan(scores[number])


@pytest.mark.parametrize(
    ("column", "cell", "outcome"),
    [
        ("age", "", "known"),
        ("age", "NA", "known"),
        ("age", "0", "refused"),
        ("height", "", "known"),  # no training row lacks it
        ("income", "", "known"),
        ("income", "3e38", "known"),
        ("weight", "", "refused"),
        ("city", "", "known"),
        ("city", "Atlantis", "known"),
        ("shop", "Atlantis", "known"),
        ("shop", "", "refused"),
        ("color", "", "known"),
        ("color", "green", "refused"),
        ("grade", "", "known"),
        ("size", "", "refused"),
    ],
)
def test_only_what_the_recipe_does_not_allow_is_refused(
    trained: Trained, column: str, cell: str, outcome: str
) -> None:
    row = {**COMPLETE, column: cell}
    if outcome == "refused":
        with pytest.raises(DataError, match=f"this observation is refused: {column}: "):
            predict(trained.model, row)
        return
    prediction = predict(trained.model, row)
    assert prediction.label in ("yes", "no")
    assert not prediction.unseen


def test_missing_values_are_written_as_missing(trained: Trained, tmp_path: Path) -> None:
    rows = trained.table.select(trained.recipe.features).slice(0, 50)
    predicted = predict_table(trained.model, rows).predictions
    for name in trained.recipe.features:
        assert predicted[name].to_pylist() == rows[name].to_pylist()


def test_golden_rows_have_missing_values_that_are_known(trained: Trained) -> None:
    assert trained.model.verify() == []
    golden = trained.model.metadata.golden
    for name, missing in (("age", None), ("height", None), ("city", ""), ("grade", "")):
        labels = [
            label
            for cell, label in zip(golden.rows[name], golden.label, strict=True)
            if cell == missing
        ]
        assert labels
        assert "unknown" not in labels
    assert "unknown" in golden.label


def test_statistics_are_of_the_values_that_are_there(trained: Trained) -> None:
    training = training_rows(trained.table)
    statistics = trained.model.metadata.statistics
    ages = training["age"].drop_null().to_numpy()
    assert statistics.columns["age"]["rows"] == len(ages)
    assert statistics.columns["age"]["mean"] == pytest.approx(ages.mean())
    assert statistics.missing["age"] == training["age"].null_count > 0
    assert statistics.missing["height"] == 0
    assert statistics.rows == training.num_rows
    assert "" not in statistics.columns["city"]["counts"]
    json.dumps(trained.model.metadata.to_dict(), allow_nan=False)


def test_nothing_of_the_holdout_is_unknown_and_noise_is_told_from_it(trained: Trained) -> None:
    holdout = holdout_rows(trained.table)
    predictions = trained.model.predict(inputs_of(holdout, trained.model))
    unknown = unknown_predictions(trained.model, holdout, predictions.labels)
    assert (unknown.rows, unknown.unseen_values) == (0, [])
    assert ood_metrics(trained.model, predictions).noise_rows > 0


def test_rows_without_a_value_are_a_slice_of_their_own(trained: Trained) -> None:
    gate = trained.recipe.gate.model_copy(update={"slices": {"color": 0.5, "size": 0.5}})
    slices = holdout_slices(trained.table, trained.recipe.model_copy(update={"gate": gate}))
    colors = holdout_rows(trained.table)["color"]
    rows = {(part.column, part.value): int(part.mask.sum()) for part in slices}
    assert rows["color", "(missing)"] == colors.null_count > 0
    assert sum(rows["color", value] for value in ("red", "blue", "(missing)")) == len(colors)
    assert ("size", "(missing)") not in rows


def test_unseen_values_are_named_and_missing_ones_are_not(trained: Trained) -> None:
    holdout = holdout_rows(trained.table)
    model = trained.model
    predicted = np.full(holdout.num_rows, "unknown")
    assert unknown_predictions(model, holdout, predicted).unseen_values == []


def test_description_states_which_inputs_may_be_missing(trained: Trained) -> None:
    text = "\n".join(description(trained.model))
    assert "from 1 to 100, or missing (1" in text
    assert "or missing (0.0% in training)" in text
    assert "rarer ones are taken as one value, other; an unseen one is known" in text
    inputs = {column.name: column.missing for column in trained.recipe.describe().inputs}
    assert inputs["age"]
    assert not inputs["weight"]


@pytest.mark.parametrize(
    ("change", "expect"),
    [({"age": None, "city": None}, "same"), ({"weight": None}, "unknown")],
)
def test_behavior_test_takes_values_away(
    trained: Trained, change: dict[str, None], expect: str
) -> None:
    inputs = inputs_of(trained.table, trained.model)
    predictions = trained.model.predict(inputs)
    test = BehaviorTest(name="t", change=change, expect=expect, share=0.1)
    result = run_behavior_test(test, trained.model, trained.table, inputs, predictions)
    assert result.share == 1 if expect == "unknown" else 0.1 < result.share <= 1


def test_embedding_is_among_the_weights(trained: Trained) -> None:
    (name,) = [name for name in weights(trained.model.content) if "embeddings" in name]
    vectors = weights(trained.model.content)[name]
    (feature,) = trained.model.metadata.preprocessor.embedded_features
    assert vectors.shape == (feature.n_codes + 1, 3)
    # That of what training does not have.
    assert not vectors[-1].any()
    assert vectors[:-1].all()


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("bought", {"missing": "allow"}, "columns.bought.missing: is allow, and the column is the"),
        ("weight", {"unseen": "other"}, "columns.weight: unseen and ordered are for a category"),
        ("weight", {"missing": "sometimes"}, "columns.weight.missing: "),
        ("city", {"ordered": True}, "columns.city.ordered: is true, and no values are listed"),
        (
            "grade",
            {"ordered": False},
            "features.grade: is thermometer, and columns.grade states no",
        ),
    ],
)
def test_mistake_names_its_key(
    tmp_path: Path, name: str, keys: dict[str, object], message: str
) -> None:
    column = CONTENT["columns"][name] | keys
    with pytest.raises(RecipeError, match=re.escape(message)):
        recipe_of(tmp_path, **{name: column})


def test_rows_that_lack_the_same_values_are_one_observation(trained: Trained) -> None:
    rows = trained.table.select(trained.recipe.features).slice(0, 100)
    hashes = group_hashes(pa.concat_tables([rows, rows]), trained.recipe)
    assert (hashes[:100] == hashes[100:]).all()
    position = rows.column_names.index("city")
    texts = rows["city"].cast(pa.string()).fill_null("None")
    assert rows["city"].null_count
    as_texts = rows.set_column(position, "city", texts)
    is_missing = np.asarray(rows["city"].is_null())
    assert ((group_hashes(as_texts, trained.recipe) != hashes[:100]) == is_missing).all()


def test_row_of_the_holdout_that_lacks_a_value_is_not_trained_on(tmp_path: Path) -> None:
    rows = [{**COMPLETE, "age": "", "bought": "yes", "part": part} for part in ("test", "train")]
    rows.append({**rows[1], "age": "31"})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    content = CONTENT | {"split": {"holdout": {"part": "test"}}}
    content["columns"] = CONTENT["columns"] | {"part": {"kind": "category"}}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(content))
    validated = validate(tmp_path / "table.csv", "x", load(str(tmp_path / "shop.yaml"), tmp_path))
    assert validated.accepted["row"].to_pylist() == [1, 3]
    (reason,) = validated.report.reasons
    assert reason.endswith("is in the holdout too")
