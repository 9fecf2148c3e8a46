"""Metadata of a model file: read as written, and refused in one clear sentence."""

import contextlib
import copy
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from onnx import helper
from support.images import image_model
from support.projects import BIRD

from creche.contract import Contract
from creche.contract.row_rules import RowRule
from creche.errors import DataError, ModelError
from creche.model.artifact import Model
from creche.model.metadata import (
    FORMAT,
    OPTIONAL_SECTIONS,
    SECTIONS,
    GoldenRows,
    ModelMetadata,
    metadata_schemas,
)
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe
from creche.scoring.single_row import predict

TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return image_model(tmp_path_factory.mktemp("model") / "images.onnx")


def with_properties(model: Model, path: Path, properties: dict[str, str]) -> Path:
    """Write the model with other metadata properties."""
    altered = onnx.load_from_string(model.content)
    del altered.metadata_props[:]
    helper.set_model_props(altered, properties)
    onnx.save(altered, path)
    return path


def test_metadata_is_read_as_it_was_written(model: Model) -> None:
    properties = model.metadata.to_properties()
    assert ModelMetadata.from_properties(properties, "x") == model.metadata
    assert json.loads(properties["creche.format"]) == FORMAT


def test_metadata_keep_the_published_schema(model: Model, trained_run: TrainedRun) -> None:
    schemas = metadata_schemas()
    assert list(schemas) == [*SECTIONS, *OPTIONAL_SECTIONS]
    for written in (model, Model(trained_run[1] / MODEL)):
        for section in SECTIONS:
            schema = schemas[section]
            Draft202012Validator.check_schema(schema)
            value = json.loads(written.metadata.to_properties()[f"creche.{section}"])
            Draft202012Validator(schema).validate(value)
    reading = {"csv": {"header": "none", "names": ["a"]}, "label": "a"}
    Draft202012Validator(schemas["reading"]).validate(reading)
    with pytest.raises(ValidationError, match="'two' is not"):
        Draft202012Validator(schemas["provenance"]).validate({"threads": "two"})


def test_model_of_others_is_refused(model: Model, tmp_path: Path) -> None:
    path = with_properties(model, tmp_path / "x.onnx", {})
    with pytest.raises(ModelError, match=r"x.onnx is an ONNX model, but not one of creche's"):
        Model(path)


@pytest.mark.parametrize("earlier", [1, 2])
def test_model_of_an_earlier_format_is_refused_with_the_way_out(
    model: Model, tmp_path: Path, earlier: int
) -> None:
    """What such a file had beside its format and its recipe need not be read."""
    properties = {
        "creche.format": str(earlier),
        "creche.recipe": '"images"',
        "creche.transform": "{}",
    }
    path = with_properties(model, tmp_path / "old.onnx", properties)
    message = (
        f"{path} has model format {earlier}, and this creche reads format {FORMAT}: "
        "export it again with `creche retrain images`"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        Model(path)


def test_model_of_a_later_format_is_refused(model: Model, tmp_path: Path) -> None:
    properties = model.metadata.to_properties() | {"creche.format": str(FORMAT + 1)}
    path = with_properties(model, tmp_path / "new.onnx", properties)
    message = f"has model format {FORMAT + 1}; this creche reads format {FORMAT}: update"
    with pytest.raises(ModelError, match=message):
        Model(path)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("uncertainty", {"coverage": None}, "x: creche.uncertainty: 'coverage' is None, not a number"),
        ("uncertainty", {"calibration_rows": 0.5}, "x: creche.uncertainty: 'calibration_rows' is 0.5, not a whole number"),
        ("quarantine", {"share": 0.5}, "x: creche.quarantine has an unknown key 'share'"),
        ("golden", {"label": "cat"}, "x: creche.golden: 'label' is 'cat', not a list"),
        ("preprocessor", {"format": 1}, "x: creche.preprocessor cannot be read (the preprocessor has format 1"),
        ("preprocessor", {"encoders": [{"encoding": "hash"}]}, "has an encoding 'hash', and this creche knows standardize"),
        ("preprocessor", {"encoders": [{"encoding": "one-hot", "columns": "x"}]}, "x: creche.preprocessor cannot be read"),
        ("provenance", {"threads": "two"}, "x: creche.provenance: 'threads' is 'two', not a whole number or null"),
        ("contract", {"image": {"kind": "image", "depth": 3}}, "x: creche.contract cannot be read (it: 'image' has an unknown key 'depth')"),
        ("contract", {"image": []}, "x: creche.contract cannot be read (it: 'image' is [], not a JSON object)"),
        ("contract", {"image": {"kind": "sound"}}, "it: 'image.kind' is 'sound', not 'number' or 'category' or 'boolean'"),
        ("contract", {"image": {"kind": "image", "width": "32"}}, "it: 'image.width' is '32', not a whole number or null"),
        ("contract", {"image": {"kind": "image"}}, "an image states width"),
        ("contract", {"mass_g": {"kind": "number"}}, "x: creche.preprocessor has the columns image, and the contract image, mass_g"),
        ("golden", {"rows": {}}, "x: creche.golden has the columns none, and the contract image"),
        ("golden", {"rows": {"image": [7]}}, "x: creche.golden: 'rows.image[0]' is 7, not a text"),
        ("golden", {"rows": {"image": ["AA=="]}}, "x: creche.golden has 1 rows.image, and "),
        ("golden", {"ood_score": []}, "x: creche.golden has 0 ood_score, and "),
        ("golden", {"probabilities": [[True]]}, "x: creche.golden: 'probabilities[0][0]' is True, not a number or null"),
        ("statistics", {"columns": {}}, "x: creche.statistics lacks column 'image'"),
        ("statistics", {"columns": {"image": {"rows": 3}}}, "x: creche.statistics: 'columns.image' lacks 'mean'"),
        ("uncertainty", {"threshold": 1.5}, "x: creche.uncertainty: 'threshold' is 1.5, not between 0 and 1"),
        ("uncertainty", {"coverage": 10**400}, "x: creche.uncertainty: 'coverage' is 1000"),
        ("provenance", {"seed": True}, "x: creche.provenance: 'seed' is True, not a whole number"),
    ],
)  # fmt: skip
def test_section_with_a_wrong_key_is_refused(
    model: Model, section: str, change: dict[str, Any], message: str
) -> None:
    sections = model.metadata.to_dict()
    properties = model.metadata.to_properties()
    properties[f"creche.{section}"] = json.dumps(sections[section] | change)
    with pytest.raises(ModelError, match=re.escape(message)) as error:
        ModelMetadata.from_properties(properties, "x")
    assert "\n" not in str(error.value)


def test_section_without_a_key_is_refused(model: Model) -> None:
    properties = model.metadata.to_properties() | {"creche.data": '{"license": "CC0-1.0"}'}
    with pytest.raises(ModelError, match=r"^x: creche.data lacks 'citation'$"):
        ModelMetadata.from_properties(properties, "x")


@pytest.mark.parametrize(
    ("section", "text", "message"),
    [
        ("recipe", "3", "x: creche.recipe is 3, not a text"),
        ("data", "[]", r"x: creche.data is \[\], not a JSON object"),
        ("label", "{", "x: creche.label is not valid JSON"),
        ("format", "{", "x: creche.format is not valid JSON"),
        ("format", "true", f"x has model format True; this creche reads format {FORMAT}: update"),
        ("contract", "[]", r"x: creche.contract cannot be read \(it is \[\], not a JSON object\)"),
        ("preprocessor", "[]", "the preprocessor is \\[\\], not a JSON object"),
        ("quarantine", '{"batch_max_share": NaN}', "is not valid JSON .NaN is no number"),
        ("golden", 100_000 * "[", "x: creche.golden is not valid JSON"),
        (
            "format",
            '"two"',
            f"x has model format 'two'; this creche reads format {FORMAT}: update it",
        ),
    ],
)
def test_section_of_another_type_is_refused(
    model: Model, section: str, text: str, message: str
) -> None:
    properties = model.metadata.to_properties() | {f"creche.{section}": text}
    with pytest.raises(ModelError, match=message):
        ModelMetadata.from_properties(properties, "x")


def test_message_shows_the_start_of_a_long_value(model: Model) -> None:
    properties = model.metadata.to_properties() | {"creche.data": json.dumps(9999 * "x")}
    with pytest.raises(ModelError) as error:
        ModelMetadata.from_properties(properties, "x")
    assert len(str(error.value)) < 200


def test_section_of_more_bytes_than_any_model_has_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = model.metadata.to_properties()
    monkeypatch.setattr("creche.model.metadata_reader.MAX_BYTES", 100)
    with pytest.raises(ModelError, match=r"^x: creche.preprocessor has more than 100 bytes$"):
        ModelMetadata.from_properties(properties, "x")


def test_metadata_of_another_graph_are_refused(
    model: Model, trained_run: TrainedRun, tmp_path: Path
) -> None:
    penguins = Model(trained_run[1] / MODEL)
    path = with_properties(model, tmp_path / "x.onnx", penguins.metadata.to_properties())
    with pytest.raises(ModelError, match=r"x.onnx: the graph takes image, and the contract has"):
        Model(path)
    metadata = model.metadata.to_properties()
    preprocessor = json.loads(metadata["creche.preprocessor"])
    preprocessor["classes"] = ["a", "b", "c", "d"]
    metadata["creche.preprocessor"] = json.dumps(preprocessor)
    label_column = {"animal": {"kind": "category", "values": preprocessor["classes"]}}
    metadata["creche.label_column"] = json.dumps(label_column)
    metadata["creche.golden"] = json.dumps(asdict(GoldenRows.empty()))
    path = with_properties(model, tmp_path / "y.onnx", metadata)
    with pytest.raises(ModelError, match="graph's probabilities is not for 4 classes"):
        Model(path)


def test_model_without_golden_rows_is_not_verified(model: Model, tmp_path: Path) -> None:
    golden = json.dumps(asdict(GoldenRows.empty()))
    properties = model.metadata.to_properties() | {"creche.golden": golden}
    path = with_properties(model, tmp_path / "x.onnx", properties)
    with pytest.raises(ModelError, match=r"x.onnx has no golden rows to predict again"):
        Model(path).verify()


OTHER_VALUES = [None, True, -1, 0.5, 1e308, 10**30, "", "x", [], {}, [None], {"x": 1}, [[["x"]]]]


def parts(value: Any) -> list[tuple[Any, Any]]:
    """Return every container in JSON with every key or position in it."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += parts(item)
    return found


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_change_of_the_metadata_gives_another_error(
    trained_run: TrainedRun, data: st.DataObject
) -> None:
    """A changed file is refused, or it is verified and predicts, or it refuses the observation."""
    model = Model(trained_run[1] / MODEL)
    sections = copy.deepcopy(model.metadata.to_dict())
    section = data.draw(st.sampled_from(sorted(sections)))
    container, key = data.draw(st.sampled_from(parts({section: sections[section]})))
    other = data.draw(st.sampled_from(["deleted", *OTHER_VALUES]))
    if other != "deleted":
        container[key] = other
    elif section != key:
        del container[key]
    changed = container[section] if section == key else sections[section]
    properties = model.metadata.to_properties() | {f"creche.{section}": json.dumps(changed)}
    altered = onnx.load_from_string(model.content)
    del altered.metadata_props[:]
    helper.set_model_props(altered, properties)
    with contextlib.suppress(ModelError):
        reread = Model.from_bytes(altered.SerializeToString())
        reread.verify()
        with contextlib.suppress(DataError):
            predict(reread, BIRD)


def test_missing_section_is_named(model: Model) -> None:
    properties = model.metadata.to_properties()
    del properties["creche.golden"]
    with pytest.raises(ModelError, match=r"not one of creche's: it lacks creche.golden"):
        ModelMetadata.from_properties(properties, "x")


def test_rules_across_columns_are_read_as_they_were_written(trained_run: TrainedRun) -> None:
    model = Model(trained_run[1] / MODEL)
    columns = model.contract.columns
    rules = (
        RowRule.compile("bill_depth_mm < bill_length_mm", columns),
        RowRule.compile("body_mass_g > 3000", columns, "island == Dream", "too light for Dream"),
    )
    metadata = replace(model.metadata, contract=Contract(columns, rules))
    properties = metadata.to_properties()
    assert ModelMetadata.from_properties(properties, "x") == metadata
    value = json.loads(properties["creche.rules"])
    Draft202012Validator(metadata_schemas()["rules"]).validate(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('[{"check": "a > 1"}]', "x: creche.rules cannot be read (it: '[0]' lacks 'reason')"),
        ('[{"check": "a > 1", "reason": "r"}]', "'a > 1' at position 1: 'a' is not under columns"),
        ("3", "x: creche.rules cannot be read (it is 3, not a list)"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(model: Model, value: str, message: str) -> None:
    properties = model.metadata.to_properties() | {"creche.rules": value}
    with pytest.raises(ModelError) as error:
        ModelMetadata.from_properties(properties, "x")
    assert message in str(error.value)
