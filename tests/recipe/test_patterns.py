"""Column patterns: expanded by a header, checked as a whole then, and the digest of the text kept."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.small_tables import COLUMNS, run_steps, shops, write_recipe

from creche.errors import RecipeError
from creche.project import ACCEPTED, PREPROCESSOR, SPLIT
from creche.provenance import md5_of
from creche.recipe import Recipe, expanded

HEADER = ["id", "sensor_2", "grade", "sensor_10", "Sensor 1", "speed", "sensor_1"]
SENSORS: dict[str, Any] = {"sensor_*": {"kind": "number", "max": 9}}


def recipe_with(
    tmp_path: Path, columns: dict[str, Any], features: dict[str, Any], **sections: Any
) -> Recipe:
    own = {"grade": COLUMNS["grade"], **columns}
    return write_recipe(tmp_path, {"path": "x.csv"}, columns=own, features=features, **sections)


def test_pattern_stands_for_its_columns_in_the_order_of_the_header(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, SENSORS, {"sensor_*": "standardize"})
    result = expanded(recipe, HEADER)
    assert list(result.columns) == ["grade", "sensor_2", "sensor_10", "sensor_1"]
    assert list(result.features) == ["sensor_2", "sensor_10", "sensor_1"]
    assert result.columns["sensor_10"].max == 9
    assert not result.has_patterns
    assert expanded(result, HEADER) is result


def test_digest_is_that_of_the_recipe_as_it_is_written(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, SENSORS, {"sensor_*": "standardize"})
    assert expanded(recipe, HEADER).digest == recipe.digest
    assert expanded(recipe, HEADER[:4]).digest == recipe.digest


def test_stated_column_belongs_to_no_pattern(tmp_path: Path) -> None:
    columns = {**SENSORS, "sensor_2": {"kind": "number", "aliases": ["sensor_10"]}}
    features = {"sensor_2": "passthrough", "*": "standardize"}
    result = expanded(recipe_with(tmp_path, columns, features), HEADER)
    assert list(result.columns) == ["grade", "sensor_1", "sensor_2"]
    assert result.features == {"sensor_2": "passthrough", "sensor_1": "standardize"}


def test_group_and_label_are_no_features_of_a_pattern(tmp_path: Path) -> None:
    columns = {"*": {"kind": "number"}}
    result = expanded(
        recipe_with(tmp_path, columns, {"*": "standardize"}, group=["id"]), HEADER[:4]
    )
    assert list(result.features) == ["sensor_2", "sensor_10"]


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"senor_*": {"kind": "number"}}, {"senor_*": "standardize"}, "recipe shops: columns: no column of the data matches 'senor_*' that is not stated by its name: correct the pattern or remove it; it has sensor_"),
        (SENSORS, {"speed*": "standardize"}, "recipe shops: features: no column of the data matches 'speed*'"),
        ({**SENSORS, "*_1": {"kind": "number"}}, {"s*": "standardize"}, "recipe shops: columns: 'sensor_1' matches 'sensor_*' and '*_1': state it by its name as well"),
        (SENSORS, {"sensor_*": "one-hot"}, "recipe shops: features.sensor_2: is one-hot, and the kind of the column is number"),
        ({"*": {"kind": "number"}}, {"id": "standardize", "sped": "passthrough", "*": "standardize"}, "features: 'sped' is not under columns: did you mean 'speed'?"),
    ],
)  # fmt: skip
def test_recipe_is_checked_as_a_whole_once_it_is_expanded(
    tmp_path: Path, columns: dict[str, Any], features: dict[str, Any], message: str
) -> None:
    recipe = recipe_with(tmp_path, columns, features)
    header = [name for name in HEADER if name != "Sensor 1"]
    with pytest.raises(RecipeError) as error:
        expanded(recipe, header)
    assert message in str(error.value)


def test_label_is_stated_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"label: 'grade' is not under columns: add it there by"):
        write_recipe(tmp_path, {"path": "x"}, columns=SENSORS, features={"*": "standardize"})


def test_steps_give_the_same_files_as_for_a_recipe_that_states_each_column(tmp_path: Path) -> None:
    table = shops(60)
    for position in range(3):
        table = table.append_column(f"sensor_{position}", pa.array([float(position)] * 60))
    pq.write_table(table, tmp_path / "x.parquet")
    data = {"path": "x.parquet", "md5": md5_of(tmp_path / "x.parquet")}
    stated = {"size_m2": COLUMNS["size_m2"]}
    stated |= {f"sensor_{position}": {"kind": "number"} for position in range(3)}
    files = []
    for own in ({"size_m2": COLUMNS["size_m2"], "sensor_*": {"kind": "number"}}, stated):
        columns = {"grade": COLUMNS["grade"], **own}
        features = dict.fromkeys(own, "standardize")
        recipe = write_recipe(tmp_path, data, columns=columns, features=features)
        paths = run_steps(tmp_path, recipe, "preprocess")
        files.append([(paths / name).read_bytes() for name in (ACCEPTED, SPLIT, PREPROCESSOR)])
    assert files[0] == files[1]
