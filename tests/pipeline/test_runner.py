"""The whole pipeline in one process, without Prefect."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from support.image_recipes import PrepareImages
from support.interruption import assert_interruption_promotes_nothing
from support.processes import wait_until
from support.projects import WINE, call_cli, edit

from creche.api.project import Project
from creche.pipeline import run_step
from creche.pipeline.runner import RunObserver
from creche.project import CHECKPOINTS, WEIGHTS, ProjectPaths, read_record
from creche.recipe import load
from creche.records import RunRecord
from creche.registry import TrackedRun
from creche.reporting.run_summary import summary_lines

NO_SERVER = {"PREFECT_API_URL": ""}


def test_model_of_another_seed_is_compared_with_the_champion(project: Path) -> None:
    opened = Project(project)
    assert opened.retrain("penguins").state == "Promoted"
    selection = "  checkpoint_selection: best\n"
    recipe = project / "recipes" / "penguins.yaml"
    edit(recipe, f"{selection}  seed: 0", f"{selection}  seed: 5")
    record = opened.retrain("penguins")
    assert record.verdict.champion.version == "1"
    assert record.verdict.comparison.rows == 110
    assert record.state == {"PROMOTE": "Promoted"}.get(record.verdict.verdict, "Inconclusive")


def test_changed_gate_is_judged_on_the_weights_that_are_there(project: Path) -> None:
    opened = Project(project)
    first = opened.retrain("penguins")
    recipe = project / "recipes" / "penguins.yaml"
    edit(recipe, "gate:\n", "gate:\n  parity_tolerance: 0.001\n")
    second = opened.retrain("penguins")
    assert second.state != "Unchanged"
    assert second.training.reused_from == first.run_id
    assert "train" not in second.seconds
    weights = [project / "var/runs" / run.run_id / WEIGHTS for run in (first, second)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert f"trained by run {first.run_id}" in "\n".join(summary_lines(second))
    # Damaged weights are not taken.
    for path in weights:
        path.write_bytes(b"x")
    edit(recipe, "parity_tolerance: 0.001", "parity_tolerance: 0.002")
    third = opened.retrain("penguins")
    assert third.training.reused_from is None
    assert third.training.weights_sha256 == first.training.weights_sha256


def test_failed_upload_of_the_files_leaves_the_verdict_in_the_store(project: Path) -> None:
    warnings = []

    class Observer(RunObserver):
        def on_tracked(self, record: RunRecord, tracked_run: TrackedRun) -> None:
            # The upload needs a folder of this name.
            run_folder = project / "var/artifacts/penguins" / tracked_run.mlflow_run_id
            (run_folder / "artifacts").mkdir(parents=True)
            (run_folder / "artifacts" / "run").touch()

        def on_warning(self, message: str) -> None:
            warnings.append(message)

    promoted = Project(project).retrain("penguins", observer=Observer())
    assert promoted.state == "Promoted"
    (warning,) = warnings
    assert warning.startswith("the run's files did not reach the store: ")
    assert Project(project).retrain("penguins").state == "Unchanged"


def test_data_edited_by_hand_fail_the_run(project: Path) -> None:
    run_step("pull", load("penguins", project), ProjectPaths.find(project).experiment("penguins"))
    file = project / "data" / "penguins.csv"
    file.chmod(0o644)
    row = "PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,14.3,215,4850,\n"
    file.write_text(file.read_text() + row)
    record = Project(project).retrain("penguins")
    assert record.state == "Failed"
    assert record.message.startswith("data/ holds changes that DVC does not know")


def test_absent_cuda_device_fails_the_run(project: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    record = Project(project).retrain("penguins", device="cuda")
    assert record.state == "Failed"
    assert record.message.startswith("device cuda is not available")


def test_unexpected_exception_is_recorded_as_failed_and_raised(project: Path) -> None:
    observed = []

    class Observer(RunObserver):
        def on_identified(self, record: RunRecord) -> None:
            observed.append("named")

        def on_end(self, record: RunRecord) -> None:
            observed.append(record.state)

    def fail(*_: object, **_options: object) -> None:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        Project(project).retrain("penguins", execute=fail, observer=Observer())
    (file,) = project.glob("var/runs/*/run.json")
    record = read_record(file, RunRecord)
    assert record.state == "Failed"
    assert record.message == "ZeroDivisionError: division by zero"
    assert observed == ["named", "Failed"]


def test_interrupted_run_is_recorded_and_promotes_nothing(project: Path) -> None:
    original = assert_interruption_promotes_nothing(project, NO_SERVER)
    (project / "recipes" / "penguins.yaml").write_text(original)
    assert Project(project).retrain("penguins").state == "Promoted"


@pytest.mark.slow
def test_killed_retraining_of_images_resumes_from_its_checkpoint(
    prepare_images: PrepareImages, project: Path
) -> None:
    prepare_images(training={"epochs": 30, "checkpoint_minutes": 0})
    run = subprocess.Popen(
        [sys.executable, "-m", "creche.cli", "retrain", "small"],
        cwd=project,
        env={**os.environ, **NO_SERVER},
        stderr=subprocess.DEVNULL,
    )
    checkpoints = project / "var" / CHECKPOINTS
    try:
        wait_until(
            lambda: run.poll() is not None or list(checkpoints.glob("*.pt")),
            120,
            "a checkpoint is written",
        )
    finally:
        run.kill()
        run.wait()
    assert list(checkpoints.glob("*.pt"))
    assert Project(project).retrain("small").state == "Promoted"
    assert not list(checkpoints.iterdir())


def test_columns_may_be_named_like_tensors_of_the_graph(project: Path) -> None:
    """In a recipe with capitals and an underscore in its name."""
    names = {
        "island": "class",
        "bill_length_mm": "features",
        "bill_depth_mm": "axis",
        "flipper_length_mm": "logits",
    }
    recipe = yaml.safe_load((project / "recipes" / "penguins.yaml").read_text())
    columns = {}
    for name, column in recipe["columns"].items():
        aliases = [name] if name in names else []
        columns[names.get(name, name)] = {**column, "aliases": aliases}
    recipe["columns"] = columns
    recipe["features"] = {
        names.get(name, name): encoding for name, encoding in recipe["features"].items()
    }
    recipe["gate"] |= {"slices": {"class": 0.9}, "behavior": []}
    (project / "recipes" / "My_birds.yaml").write_text(yaml.safe_dump(recipe))
    record = Project(project).retrain("My_birds")
    assert record.state == "Promoted", record.message


def test_run_without_a_server_starts_no_prefect(project: Path) -> None:
    result = call_cli(project, "retrain", "penguins-lab")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("PROMOTED")
    assert "nan" not in result.stdout
    assert not (project / "var" / "prefect").exists()


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_another_table_goes_through_the_same_pipeline(project: Path) -> None:
    record = Project(project).retrain("wine-course", data=WINE)
    assert record.state == "Promoted", record.message
    assert (record.validation.rows, record.validation.accepted) == (1599, 1599)
    result = call_cli(project, "score", str(WINE), "--recipe", "wine-course", "--out", "out")
    assert result.returncode == 0, result.stderr
    table = pq.read_table(project / "out" / "predictions.parquet")
    assert table.num_rows == 1599
    assert (table["predicted_quality"].to_numpy() == table["quality"].to_numpy()).mean() > 0.5


def test_new_data_version_trains_again_and_the_older_one_is_reproduced(project: Path) -> None:
    opened = Project(project)
    assert opened.retrain("penguins").state == "Promoted"
    file = project / "data" / "penguins.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.unlink()
    file.write_text("".join(lines[:-1]))
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "data"], cwd=project, check=True)
    record = opened.retrain("penguins")
    assert record.validation.rows == 343
    assert record.verdict.champion.version == "1"
    # The older data are in the remote alone.
    shutil.rmtree(project / ".dvc" / "cache")
    result = call_cli(project, "reproduce", "penguins@1")
    assert result.stdout.startswith("IDENTICAL  penguins@1"), result.stdout + result.stderr


def test_home_can_be_moved(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRECHE_HOME", str(tmp_path / "home"))
    assert Project(project).retrain("penguins").state == "Promoted"
    assert not (project / "var").exists()
    assert (tmp_path / "home" / "mlflow.db").is_file()
