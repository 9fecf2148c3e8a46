"""Commands against a project with a champion, in this process."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.projects import BIRD, call_cli, edit

from creche.pipeline import STEPS
from creche.project import MANIFEST, VERDICT, read_json

BIRD_ARGUMENTS = [f"{name}={value}" for name, value in BIRD.items()]


def test_scored_files_name_the_champion_and_its_verdict(
    champion_project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    example = "examples/observations.csv"
    result = call_cli(champion_project, "score", example, "--recipe", "penguins", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("SCORED  37 of 40 rows scored with penguins version 1 (")
    assert pq.read_table(out / "predictions.parquet").num_rows == 37
    verdict = read_json(next(champion_project.glob(f"var/runs/*/{VERDICT}")))
    assert read_json(out / MANIFEST)["model"]["verdict_id"] == verdict["id"]
    result = call_cli(champion_project, "trace", f"{out}:1")
    assert f"verdict PROMOTE {verdict['id']}" in result.stdout


def test_every_step_of_an_experiment_prints_its_record(project: Path) -> None:
    # One epoch is enough: what is tested is that each command ends well.
    edit(project / "recipes" / "penguins.yaml", "epochs: 150", "epochs: 1")
    for step in STEPS[:-1]:
        result = call_cli(project, "step", step, "penguins", "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)


@pytest.mark.parametrize(
    "model", ["penguins", "penguins@champion", "penguins@1", "recipes/penguins.yaml"]
)
def test_every_reference_to_the_champion_predicts_with_it(
    champion_project: Path, model: str
) -> None:
    result = call_cli(champion_project, "predict", model, *BIRD_ARGUMENTS, "--json")
    assert result.returncode == 0, result.stderr
    prediction = json.loads(result.stdout)
    assert (prediction["label"], prediction["model_version"]) == ("Chinstrap", "1")


def test_predict_warns_of_an_observation_unlike_the_training_data(champion_project: Path) -> None:
    """The bird is as heavy as no Chinstrap in the training data."""
    result = call_cli(champion_project, "predict", "penguins", *BIRD_ARGUMENTS)
    assert result.stdout.startswith("Chinstrap\n")
    assert "\n  prediction set: Chinstrap\n  OOD score: 0\n" in result.stdout
    assert "\n  WARNING: unlike the training data, for fewer than 5% of the " in result.stdout
    usual = {**BIRD, "bill_length_mm": "49", "bill_depth_mm": "18.5", "body_mass_g": "3700"}
    arguments = [f"{name}={value}" for name, value in usual.items()]
    result = call_cli(champion_project, "predict", "penguins", *arguments)
    assert "OOD score: 0." in result.stdout
    assert "WARNING" not in result.stdout


def test_predict_ignores_other_columns_as_score_does(champion_project: Path) -> None:
    arguments = [*BIRD_ARGUMENTS, "ring=N1A1", "beak=yellow"]
    result = call_cli(champion_project, "predict", "penguins", *arguments)
    assert result.returncode == 0
    assert "ignored, for the model does not take them: ring, beak" in result.stdout
    result = call_cli(champion_project, "predict", "penguins", *arguments, "--json")
    prediction = json.loads(result.stdout)
    assert prediction["ignored"] == ["ring", "beak"]
    assert prediction["label"] == "Chinstrap"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["retrain", "pengins"], 1, "no recipe 'pengins'"),
        (["retrain", "penguins", "--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (["predict", "penguins", "island"], 2, "'island' is not NAME=VALUE"),
        (["predict", "nobody", "a=1"], 1, "nobody has no champion: run `creche retrain nobody`"),
        (["predict", "penguins@77", "a=1"], 1, "penguins has no version 77"),
        (["predict", "penguins", "island=Signy"], 1, "missing columns bill_length_mm"),
        (
            ["score", "nowhere.csv", "--recipe", "penguins", "--out", "x"],
            1,
            "nowhere.csv: no such file",
        ),
        (["show", "bones", "penguins"], 2, "show MODEL, or show weights MODEL"),
        (["predict", "penguins", "island=Dream", "island=Biscoe"], 2, "'island' is given twice"),
        (["step", "evaluate", "wine-course"], 2, "evaluate reads"),
        (["impact", "--model", "penguins@3"], 1, "penguins has no version 3: run `creche models"),
        (["impact", "--model", "nobody"], 1, "nobody has no versions: run `creche retrain nobody`"),
        (["impact", "--data", "ffff"], 1, "no model here was trained on a data version that"),
        (["fly"], 2, "invalid choice: 'fly'"),
    ],
)
def test_mistake_is_one_sentence_and_an_exit_code(
    champion_project: Path, arguments: list[str], code: int, message: str
) -> None:
    result = call_cli(champion_project, *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
