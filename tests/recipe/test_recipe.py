import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.documents import block_of
from support.projects import ROOT

from creche.errors import RecipeError
from creche.recipe import load

PENGUINS = yaml.safe_load((ROOT / "recipes/penguins.yaml").read_text())


def edited(tmp_path: Path, *path: str, value: Any) -> Path:
    recipe = copy.deepcopy(PENGUINS)
    part = recipe
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("training", "epohcs"), 3, "training.epohcs: unknown key: did you mean 'epochs'?"),
        (("training", "epochs"), -3, "training.epochs: is -3: it must be greater than 0"),
        (
            ("columns", "island", "alias"),
            ["x"],
            "columns.island.alias: unknown key: did you mean 'aliases'?",
        ),
        (("features", "bill"), "one-hot", "features: 'bill' is not under columns: "),
        (
            ("features", "island"),
            "standardize",
            "features.island: is standardize, and the kind of the column is category: use one-hot or",
        ),
        (("rules",), ["sex == mael"], "rules.0: 'sex == mael' at position 8: 'mael' as a value of"),
        (
            ("rules",),
            ["sex == male", {"check": "bill > 3", "when": "sex == male"}],
            "rules.1: 'bill > 3' at position 1: 'bill' is not under columns: add it there",
        ),
        (
            ("rules",),
            ["sex == male", {"check": "sex == female", "reason": "rule broken: sex == male"}],
            "rules.1: 'rule broken: sex == male' is the reason of another rule too",
        ),
        (("rules",), [{"chek": "sex == male"}], "rules.0.chek: unknown key: remove it"),
        (("rules",), [3], "rules.0: '3' at position 1: 3 is no condition: compare it with a value"),
        (("rules",), 3, "rules: is 3: it must be a list"),
        (("rules",), {"check": "x"}, "rules: is a mapping of keys: it must be a list"),
        (("label",), "specie", "label: 'specie' is not under columns: did you mean 'species'?"),
        (("split", "holdout"), 1.0, "split: holdout must be above 0"),
        (("name",), "otherbird", "name: a recipe has the name of its file: remove this key"),
        (
            ("columns", "sex", "aliases"),
            ["CulmenLength"],
            "columns.sex: 'CulmenLength' is a name of column bill_length_mm too",
        ),
        (
            ("columns", "sex", "aliases"),
            ["%"],
            "columns.sex: the name '%' has neither letter nor digit",
        ),
        (
            ("columns", "row"),
            {"kind": "text"},
            "columns.row: creche adds a column of the name 'row': choose another",
        ),
        (
            ("columns", "bill_depth_mm", "min"),
            99,
            "columns.bill_depth_mm: min is 99.0 and max is 27.0: they must be finite",
        ),
        (
            ("columns", "bill_depth_mm", "values"),
            ["a"],
            "columns.bill_depth_mm: values are for a category",
        ),
        (
            ("columns", "island", "min"),
            1,
            "columns.island: min and max are for a number, and the kind is category",
        ),
        (
            ("columns", "species", "values"),
            ["Adelie", "Adelie"],
            "columns.species.values: 'Adelie' is stated twice",
        ),
        (("columns", "species", "values"), ["Adelie", "NA"], "'NA' is read as a missing value"),
        (("features",), {}, "features: "),
        (
            ("columns", "body_mass_g", "units"),
            {"kg": 0},
            "columns.body_mass_g.units.kg: is 0: state how many g one kg is, above 0",
        ),
        (
            ("columns", "island", "units"),
            {"kg": 1},
            "columns.island: units are for a number, and the kind is category",
        ),
        (("training", "seed"), -1, "training.seed: "),
        (("training", "learning_rate"), float("inf"), "training.learning_rate: "),
        (
            ("data", "url"),
            "https://example.org/x.csv",
            "data: both or neither of path and url are stated",
        ),
    ],
)
def test_mistake_is_one_error_with_the_path_of_its_key(
    tmp_path: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        load(str(edited(tmp_path, *path, value=value)), tmp_path)
    assert message in str(error.value)
    assert "x.yaml" in str(error.value)


def test_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in PENGUINS.items() if k != "label"}))
    with pytest.raises(RecipeError, match=r"label: this key is missing: add it"):
        load(str(file), tmp_path)


def test_key_that_is_stated_twice_is_an_error(tmp_path: Path) -> None:
    text = (ROOT / "recipes/penguins.yaml").read_text()
    (tmp_path / "x.yaml").write_text(text + "label: sex\n")
    with pytest.raises(RecipeError, match="the key 'label' is stated twice"):
        load(str(tmp_path / "x.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("010", "8"),
        ("01", "1"),
        ("12:30", "750"),
        ("1_000", "1000"),
        ("yes", "True"),
        ("Off", "False"),
        ("~", "None"),
        ("1.50", "1.5"),
    ],
)
def test_value_that_yaml_reads_as_another_is_refused_with_the_cure(
    tmp_path: Path, written: str, read: str
) -> None:
    text = (ROOT / "recipes/penguins.yaml").read_text()
    edited_text = text.replace("values: [Biscoe,", f"values: [{written}, Biscoe,")
    assert edited_text != text
    (tmp_path / "x.yaml").write_text(edited_text)
    with pytest.raises(RecipeError) as error:
        load(str(tmp_path / "x.yaml"), tmp_path)
    assert f"columns.island.values: YAML reads {written} as {read}: put it in quotes" in str(
        error.value
    )
    (tmp_path / "x.yaml").write_text(edited_text.replace(f"[{written},", f'["{written}",'))
    assert load(str(tmp_path / "x.yaml"), tmp_path).columns["island"].values is not None


def test_values_that_are_spelled_alike_are_one(tmp_path: Path) -> None:
    file = edited(tmp_path, "columns", "island", "values", value=[1, 2.0, True, "Sa\u0303o"])
    assert load(str(file), tmp_path).columns["island"].values == ("1", "2", "True", "S\u00e3o")
    file = edited(tmp_path, "columns", "island", "values", value=["1", "1.0"])
    with pytest.raises(RecipeError, match=r"columns.island.values: '1' is stated twice"):
        load(str(file), tmp_path)


def test_category_that_reads_as_missing_needs_missing_values(tmp_path: Path) -> None:
    values = {"kind": "category", "values": ["none", "mild"]}
    file = edited(tmp_path, "columns", "severity", value=values)
    with pytest.raises(RecipeError, match=r"columns.severity.*'none' is read as a missing value"):
        load(str(file), tmp_path)
    file = edited(tmp_path, "columns", "severity", value={**values, "missing_values": []})
    assert load(str(file), tmp_path).columns["severity"].values == ("none", "mild")


def test_broken_yaml_is_said_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("label: [species\n")
    with pytest.raises(RecipeError, match=r"x.yaml is not valid YAML: .* line 2"):
        load(str(tmp_path / "x.yaml"), tmp_path)


def test_unknown_recipe_lists_the_ones_there_are() -> None:
    with pytest.raises(
        RecipeError, match=r"no recipe 'pengins'.*penguins, penguins-lab, wine-course"
    ):
        load("pengins", ROOT)


def test_every_recipe_of_the_project_loads() -> None:
    for file in (ROOT / "recipes").glob("*.yaml"):
        assert load(file.stem, ROOT).name == file.stem


def test_prose_does_not_change_the_digest_and_a_number_does(tmp_path: Path) -> None:
    original = load("penguins", ROOT).digest
    for path, value, same in (
        (("description",), "other", True),
        (("training", "epochs"), 7, False),
    ):
        file = edited(tmp_path, *path, value=value)
        shutil.move(file, tmp_path / "penguins.yaml")
        assert (load(str(tmp_path / "penguins.yaml"), tmp_path).digest == original) is same


def test_key_that_yaml_reads_as_a_truth_value_is_refused_with_its_line(tmp_path: Path) -> None:
    text = (ROOT / "recipes/penguins.yaml").read_text()
    edited_text = text.replace("\n  sex: {kind", "\n  on: {kind")
    assert edited_text != text
    line = edited_text.splitlines().index("  on: {kind: category, values: [female, male]}") + 1
    (tmp_path / "x.yaml").write_text(edited_text)
    with pytest.raises(RecipeError, match=rf'line {line}: YAML reads the key on as True.*"on"'):
        load(str(tmp_path / "x.yaml"), tmp_path)


def test_key_of_digits_is_the_text_that_was_written(tmp_path: Path) -> None:
    text = (ROOT / "recipes/penguins.yaml").read_text()
    edited_text = text.replace("\n  sex: {kind", "\n  2007: {kind").replace("sex: 0.9", "2007: 0.9")
    (tmp_path / "x.yaml").write_text(edited_text)
    recipe = load(str(tmp_path / "x.yaml"), tmp_path)
    assert recipe.columns["2007"].values == ("female", "male")
    assert recipe.gate.slices["2007"] == 0.9


@pytest.mark.parametrize("name", ["island", "species"])
def test_optional_feature_or_label_is_refused(tmp_path: Path, name: str) -> None:
    file = edited(tmp_path, "columns", name, "required", value=False)
    with pytest.raises(RecipeError, match=rf"columns.{name}.required: is false, .*remove this key"):
        load(str(file), tmp_path)
    file = edited(tmp_path, "columns", "sex", "required", value=False)
    assert load(str(file), tmp_path).columns["sex"].required is False


def test_numeric_label_is_told_that_a_classifier_predicts_classes(tmp_path: Path) -> None:
    file = edited(tmp_path, "label", value="body_mass_g")
    recipe = yaml.safe_load(file.read_text())
    del recipe["features"]["body_mass_g"]
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match=r"the label is a number, and a classifier predicts"):
        load(str(file), tmp_path)


def test_text_that_yaml_reads_as_a_truth_value_is_told_to_be_put_in_quotes(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    for key in ("label: species", "unit: mm", "expect: same"):
        text = (ROOT / "recipes/penguins.yaml").read_text()
        file.write_text(text.replace(key, f"{key.partition(':')[0]}: no", 1))
        with pytest.raises(RecipeError, match=r'YAML reads no as False: put it in quotes, "no"'):
            load(str(file), tmp_path)


def test_unknown_encoding_is_one_error(tmp_path: Path) -> None:
    file = edited(tmp_path, "features", "island", value="onehot")
    with pytest.raises(RecipeError) as error:
        load(str(file), tmp_path)
    assert str(error.value).count("features.island") == 1
    assert "is 'onehot': it must be 'one-hot'" in str(error.value)


def test_rules_of_the_guide_are_valid(tmp_path: Path) -> None:
    content = {
        **PENGUINS,
        **yaml.safe_load(block_of(ROOT / "docs/guides/rules.md", "yaml")),
        "columns": {
            **PENGUINS["columns"],
            **{name: {"kind": "date"} for name in ("birth_date", "death_date", "visit_date")},
            "pregnant": {"kind": "boolean"},
            "visa": {"kind": "text"},
            "country": {"kind": "category"},
        },
    }
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rules = load(str(tmp_path / "x.yaml"), tmp_path).row_rules
    assert [rule.columns for rule in rules] == [
        ("birth_date", "death_date"),
        ("sex", "pregnant"),
        ("visa", "country"),
    ]
