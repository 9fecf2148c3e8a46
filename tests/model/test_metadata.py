"""Metadata of a model file: read as written, and refused in one clear sentence."""

import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from support.images import image_model

from creche.errors import ModelError
from creche.model.artifact import Model
from creche.model.metadata import FORMAT, ModelMetadata


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
        ("provenance", {"threads": "two"}, "x: creche.provenance: 'threads' is 'two', not int | None"),
        ("contract", {"image": {"kind": "image", "depth": 3}}, "x: creche.contract cannot be read"),
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
        (
            "format",
            '"two"',
            f"x has model format two; this creche reads format {FORMAT}: update it",
        ),
    ],
)
def test_section_of_another_type_is_refused(
    model: Model, section: str, text: str, message: str
) -> None:
    properties = model.metadata.to_properties() | {f"creche.{section}": text}
    with pytest.raises(ModelError, match=message):
        ModelMetadata.from_properties(properties, "x")


def test_missing_section_is_named(model: Model) -> None:
    properties = model.metadata.to_properties()
    del properties["creche.golden"]
    with pytest.raises(ModelError, match=r"not one of creche's: it lacks creche.golden"):
        ModelMetadata.from_properties(properties, "x")
