"""Versions in a real MLflow store: what is registered, which is champion, and what a reader
without MLflow gets.
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import BIRD

from creche import registry
from creche.api.loaded_model import LoadedModel
from creche.contract import Column, Contract
from creche.data.row_keys import ROW_KEY_FORMAT
from creche.data.split import holdout_rows
from creche.errors import ModelError, RegistryError
from creche.model.artifact import Model
from creche.pipeline import run_step
from creche.pipeline.comparability import _missing_values, check_comparable
from creche.project import MODEL, SPLIT, VERDICT, ProjectPaths, RunPaths
from creche.recipe import Recipe
from creche.registry import CHAMPION, store_location
from creche.registry.client import open_client
from creche.registry.client_reader import ClientReader

TrainedRun = tuple[Recipe, RunPaths, dict[str, dict[str, object]]]


@pytest.fixture
def paths(project: Path, trained_run: TrainedRun) -> RunPaths:
    """The trained run, with a registry of its own."""
    shutil.copytree(trained_run[1].folder, project / "run")
    return ProjectPaths.find(project).at(project / "run")


def promoted(recipe: Recipe, paths: RunPaths, finish: str = "FINISHED") -> str:
    run = registry.TrackedRun.start(
        recipe.name, "run", {"epochs": 1}, {"run": "run", "fingerprint": "f"}, paths
    )
    run_step("gate", recipe, paths)
    result = run_step("promote", recipe, paths, tracked_run=run)
    run.set_tag("verdict", "PROMOTE")
    run.finish(finish)
    return str(result.version)


def test_empty_store_has_no_champion(paths: RunPaths) -> None:
    assert registry.champion("penguins", paths) is None
    assert registry.last_judged_run("penguins", paths) is None


def test_resolved_version_matches_mlflow(paths: RunPaths, trained_run: TrainedRun) -> None:
    for expected in ("1", "2"):
        assert promoted(trained_run[0], paths) == expected
        by_mlflow = open_client(paths).get_model_version_by_alias("penguins", CHAMPION)
        champion = registry.champion("penguins", paths)
        assert champion is not None
        assert champion.version == str(by_mlflow.version)
        assert dict(champion.tags) == dict(by_mlflow.tags)
        by_client = ClientReader(paths)
        assert by_client.champion_version("penguins") == champion.version
        assert by_client.version_tags("penguins", champion.version) == dict(champion.tags)
    first = registry.registered_version("penguins", "1", paths)
    assert first is not None
    assert first.version == "1"
    assert registry.registered_version("penguins", "9", paths) is None


def test_version_carries_digest_verdict_and_provenance(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    promoted(trained_run[0], paths)
    champion = registry.champion("penguins", paths)
    model = Model(paths / MODEL)
    assert champion is not None
    assert champion.digest == model.digest
    assert champion.tags["verdict"] == "PROMOTE"
    assert champion.tags["data_version"] == model.metadata.provenance.data_version
    assert champion.tags["recipe_digest"] == trained_run[0].digest


def test_missing_cached_file_is_downloaded_again(paths: RunPaths, trained_run: TrainedRun) -> None:
    promoted(trained_run[0], paths)
    for file in (paths.home / "models").iterdir():
        file.unlink()
    champion = registry.champion("penguins", paths)
    assert champion is not None
    assert Model(champion.path, champion.digest).label == "species"
    assert len(champion.trained_on) > 100


def test_champion_that_changed_since_the_verdict_is_not_replaced(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    run_step("gate", trained_run[0], paths)
    # The verdict of a time without a champion.
    verdict = (paths / VERDICT).read_bytes()
    promoted(trained_run[0], paths)
    (paths / VERDICT).write_bytes(verdict)
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    with pytest.raises(
        RegistryError,
        match="the champion of penguins changed while version 2 was judged: it is now 1",
    ):
        run_step("promote", trained_run[0], paths, tracked_run=run)
    champion = registry.champion("penguins", paths)
    assert champion is not None
    assert champion.version == "1"


def test_retried_registration_makes_no_second_version(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    run_step("gate", trained_run[0], paths)
    results = [run_step("promote", trained_run[0], paths, tracked_run=run).version]
    run_step("gate", trained_run[0], paths)
    results.append(run_step("promote", trained_run[0], paths, tracked_run=run).version)
    assert results == ["1", "1"]


def test_champion_of_another_split_is_not_compared(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    promoted(trained_run[0], paths)
    other = trained_run[0].model_copy(
        update={"split": trained_run[0].split.model_copy(update={"seed": 1})}
    )
    verdict = run_step("gate", other, paths)
    assert verdict.verdict == "INCONCLUSIVE"
    assert "was trained under another split" in verdict.reason


def test_champion_whose_row_keys_have_another_format_is_not_compared(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    promoted(trained_run[0], paths)
    champion = registry.champion("penguins", paths)
    assert champion is not None
    assert champion.row_key_format == ROW_KEY_FORMAT
    not_comparable = check_comparable(
        replace(champion, row_key_format=1),
        holdout_rows(pq.read_table(paths / SPLIT)),
        trained_run[0],
    )
    assert not_comparable is not None
    assert "states its training rows by row keys of format 1" in not_comparable.reason


def test_champion_of_other_units_is_not_compared(paths: RunPaths, trained_run: TrainedRun) -> None:
    promoted(trained_run[0], paths)
    columns = trained_run[0].columns
    changes = (
        ("body_mass_g", {"unit": "kg"}, "takes body_mass_g as a number in g, which"),
        ("island", {"kind": "text", "values": None}, "takes island as a category, which"),
    )
    for name, change, message in changes:
        changed = {**columns, name: replace(columns[name], **change)}
        verdict = run_step("gate", trained_run[0].model_copy(update={"columns": changed}), paths)
        assert verdict.verdict == "INCONCLUSIVE"
        assert f"{message} this recipe does not" in verdict.reason


def test_unavailable_champion_makes_the_verdict_inconclusive(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    promoted(trained_run[0], paths)
    for file in [*paths.home.rglob("*.onnx")]:
        file.unlink()
    verdict = run_step("gate", trained_run[0], paths)
    assert verdict.verdict == "INCONCLUSIVE"
    assert "version 1: its model.onnx cannot be fetched from the store" in verdict.reason
    open_client(paths).delete_model_version("penguins", "1")
    verdict = run_step("gate", trained_run[0], paths)
    assert verdict.verdict == "INCONCLUSIVE"
    assert "version 1 was deleted" in verdict.reason


def test_same_rows_are_no_new_training_groups(paths: RunPaths, trained_run: TrainedRun) -> None:
    promoted(trained_run[0], paths)
    verdict = run_step("gate", trained_run[0], paths)
    assert verdict.comparison.has_new_training_groups is False
    assert verdict.verdict == "INCONCLUSIVE"


def test_file_that_is_no_database_is_a_one_line_error(paths: RunPaths) -> None:
    paths.home.mkdir()
    (paths.home / "mlflow.db").write_bytes(b"no store" * 1000)
    for read in (registry.champion, registry.last_judged_run):
        with pytest.raises(RegistryError, match=r"mlflow.db cannot be read as MLflow's store"):
            read("penguins", paths)


def test_altered_copy_is_refused(paths: RunPaths, trained_run: TrainedRun) -> None:
    promoted(trained_run[0], paths)
    champion = registry.champion("penguins", paths)
    assert champion is not None
    content = champion.path.read_bytes()
    champion.path.write_bytes(content.replace(b"Torgersen", b"Torgersem"))
    with pytest.raises(ModelError, match="is not the file that was registered"):
        Model(champion.path, champion.digest)
    restored = registry.champion("penguins", paths)
    assert restored is not None
    assert restored.path.read_bytes() == content


def test_missing_file_in_the_store_is_reported_with_the_remedy(
    paths: RunPaths, trained_run: TrainedRun
) -> None:
    promoted(trained_run[0], paths)
    for file in [*paths.home.rglob("*.onnx")]:
        file.unlink()
    with pytest.raises(
        RegistryError,
        match=r"penguins version 1: its model.onnx cannot be fetched from the store .*run `creche retrain penguins --force`",
    ):
        registry.champion("penguins", paths)


def test_failed_run_is_not_the_last_judged_run(paths: RunPaths, trained_run: TrainedRun) -> None:
    promoted(trained_run[0], paths, "FAILED")
    assert registry.last_judged_run("penguins", paths) is None
    promoted(trained_run[0], paths)
    last = registry.last_judged_run("penguins", paths)
    assert last is not None
    assert (last.verdict, last.fingerprint) == ("PROMOTE", "f")


def test_file_changed_after_the_verdict_is_not_promoted(
    paths: RunPaths, trained_run: TrainedRun, tmp_path: Path
) -> None:
    copy = paths.at(tmp_path / "copy")
    shutil.copytree(paths.folder, copy.folder)
    content = (copy / MODEL).read_bytes()
    (copy / MODEL).write_bytes(content.replace(b"Torgersen", b"Torgersem"))
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    with pytest.raises(ModelError, match="changed after it was judged"):
        run_step("promote", trained_run[0], copy, tracked_run=run)
    assert registry.champion("penguins", paths) is None


def test_live_metrics_reach_the_store(paths: RunPaths) -> None:
    run = registry.TrackedRun.start("penguins", "run", {}, {}, paths)
    for epoch in range(1, 6):
        run.log_metrics({"loss": 1 / epoch}, epoch)
    run.finish("FINISHED")
    history = open_client(paths).get_metric_history(run.mlflow_run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(e, 1 / e) for e in range(1, 6)]


def test_champion_is_a_pyfunc_model_by_its_alias(
    paths: RunPaths, trained_run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    promoted(trained_run[0], paths)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_location(paths).uri)
    loaded = mlflow.pyfunc.load_model("models:/penguins@champion")
    island, *numbers = BIRD
    columns = {name: np.array([float(BIRD[name])] * 2, np.float32) for name in numbers}
    predictions = loaded.predict(pd.DataFrame({island: [BIRD[island]] * 2, **columns}))
    assert list(predictions["label"]) == ["Chinstrap"] * 2


@pytest.mark.slow
def test_champion_is_a_spark_udf_by_its_alias(
    paths: RunPaths, trained_run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Spark needs Java, which is not installed")
    import mlflow
    import pandas as pd
    from pyspark.sql import SparkSession

    islands = ["Biscoe", "Dream", "Torgersen", "Signy"]
    n_rows = 1000
    random = np.random.default_rng(0)
    birds = pd.DataFrame({"ring": np.arange(n_rows), "island": random.choice(islands, n_rows)})
    for name, value in list(BIRD.items())[1:]:
        # Doubles, as Spark reads them.
        birds[name] = float(value) * random.uniform(0.8, 1.2, n_rows)
    promoted(trained_run[0], paths)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_location(paths).uri)
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(tmp_path),
    }
    with SparkSession.builder.master("local[2]").config(map=settings).getOrCreate() as spark:
        udf = mlflow.pyfunc.spark_udf(spark, "models:/penguins@champion", env_manager="local")
        scored = (
            spark.createDataFrame(birds)
            .withColumn("prediction", udf())
            .select("ring", "prediction.*")
        )
        rows = [row.asDict() for row in scored.collect()]
    predicted = pd.DataFrame(rows).sort_values("ring")
    expected = LoadedModel(Model(paths / MODEL), "1").predict(birds)
    for name, expected_name in (("label", "predicted_species"), ("reasons", "reasons")):
        assert predicted[name].tolist() == expected[expected_name].fillna("").tolist()
    assert set(predicted["label"]) == {"Adelie", "Chinstrap", "Gentoo", ""}
    probabilities = np.stack(predicted["probabilities"]).astype(np.float32)
    for position, species in enumerate(("Adelie", "Chinstrap", "Gentoo")):
        of_class = expected[f"probability_{species}"].to_numpy(np.float32)
        assert np.array_equal(probabilities[:, position], of_class, equal_nan=True)
    assert np.array_equal(
        predicted["ood_score"].astype(np.float32),
        expected["ood_score"].astype(np.float32),
        equal_nan=True,
    )
    sets = ["|".join(classes) for classes in predicted["prediction_set"]]
    assert sets == expected["prediction_set"].fillna("").tolist()


def test_champion_that_takes_missing_values_is_compared_on_rows_without_them() -> None:
    columns = {"age": Column("number", missing="allow"), "height": Column("number")}
    model: Any = SimpleNamespace(contract=Contract(columns))
    holdout = pa.table({"age": [1.0, None], "height": [1.0, 2.0]})
    assert _missing_values("version 1", model, holdout) is None
    holes = holdout.set_column(1, "height", pa.array([None, 2.0]))
    reason = _missing_values("version 1", model, holes)
    assert reason == "version 1 needs height, which 1 holdout rows lack"
