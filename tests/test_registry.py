"""The record in a real MLflow store: what is registered, who reigns, and what a reader without mlflow sees."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BIRD

from creche import registry
from creche.errors import ModelError, RegistryError
from creche.model_file import Model
from creche.places import MODEL, VERDICT, Places
from creche.recipe import Recipe
from creche.steps import run_step

Raised = tuple[Recipe, Places, dict[str, dict[str, object]]]


@pytest.fixture
def places(project: Path, raised: Raised) -> Places:
    """The raised run, with a registry of its own."""
    shutil.copytree(raised[1].folder, project / "run")
    return Places(project, project / "var", project / "run")


def promoted(recipe: Recipe, places: Places, finish: str = "FINISHED") -> str:
    run = registry.Run.begin(recipe.name, "run", {"epochs": 1}, {"run": "run", "fingerprint": "f"}, places)
    run_step("judge", recipe, places)
    result = run_step("promote", recipe, places, record=run)
    run.tag("verdict", "PROMOTE")
    run.finish(finish)
    return str(result["version"])


def test_nobody_reigns_in_an_empty_store(places: Places) -> None:
    assert registry.resolve("penguins", places) is None
    assert registry.champion("penguins", places) is None
    assert registry.last_verdict("penguins", places) is None


def test_reader_without_mlflow_sees_what_mlflow_sees(places: Places, raised: Raised) -> None:
    for expected in ("1", "2"):
        assert promoted(raised[0], places) == expected
        seen = registry.client(places).get_model_version_by_alias("penguins", registry.ALIAS)
        found = registry.resolve("penguins", places)
        assert found is not None
        assert (found.version, dict(found.tags)) == (str(seen.version), dict(seen.tags))
        by_client = registry._from_client("penguins", places, registry.ALIAS)
        assert by_client == (found.version, dict(found.tags))
    first = registry.resolve("penguins", places, "1")
    assert first is not None
    assert first.version == "1"
    assert registry.resolve("penguins", places, "9") is None


def test_version_carries_digest_verdict_and_provenance(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    found = registry.resolve("penguins", places)
    model = Model(places / MODEL)
    assert found is not None
    assert found.digest == model.digest
    assert found.tags["verdict"] == "PROMOTE"
    assert found.tags["data_version"] == model.metadata["provenance"]["data_version"]
    assert found.tags["recipe_digest"] == raised[0].digest


def test_lost_copy_is_fetched_from_the_store_again(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    for file in (places.home / "models").iterdir():
        file.unlink()
    found = registry.champion("penguins", places)
    assert found is not None
    assert Model(found.path, found.digest).label == "species"
    assert len(found.trained_on) > 100


def test_champion_that_changed_since_the_verdict_is_not_replaced(places: Places, raised: Raised) -> None:
    run_step("judge", raised[0], places)  # nobody reigns
    verdict = (places / VERDICT).read_bytes()
    promoted(raised[0], places)
    (places / VERDICT).write_bytes(verdict)
    run = registry.Run.begin("penguins", "run", {}, {}, places)
    with pytest.raises(RegistryError, match="the champion of penguins changed while version 2 was judged: it is now 1"):
        run_step("promote", raised[0], places, record=run)
    found = registry.resolve("penguins", places)
    assert found is not None
    assert found.version == "1"


def test_retried_registration_makes_no_second_version(places: Places, raised: Raised) -> None:
    run = registry.Run.begin("penguins", "run", {}, {}, places)
    run_step("judge", raised[0], places)
    results = [run_step("promote", raised[0], places, record=run)["version"]]
    run_step("judge", raised[0], places)
    results.append(run_step("promote", raised[0], places, record=run)["version"])
    assert results == ["1", "1"]


def test_champion_of_another_split_is_not_compared(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    other = raised[0].model_copy(update={"split": raised[0].split.model_copy(update={"seed": 1})})
    verdict = run_step("judge", other, places)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "was trained under another split" in verdict["reason"]


def test_champion_of_other_units_is_not_compared(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    columns = {**raised[0].columns, "body_mass_g": replace(raised[0].columns["body_mass_g"], unit="kg")}
    verdict = run_step("judge", raised[0].model_copy(update={"columns": columns}), places)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "takes body_mass_g as a number in g, which this recipe does not" in verdict["reason"]


def test_champion_that_cannot_be_had_does_not_stop_the_judging(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    for file in [*places.home.rglob("*.onnx")]:
        file.unlink()
    verdict = run_step("judge", raised[0], places)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "version 1: its model.onnx cannot be had from the store" in verdict["reason"]
    registry.client(places).delete_model_version("penguins", "1")
    verdict = run_step("judge", raised[0], places)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "version 1 was deleted" in verdict["reason"]


def test_same_rows_in_another_file_are_no_newer_data(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    verdict = run_step("judge", raised[0], places)
    assert verdict["comparison"]["newer_data"] is False
    assert verdict["verdict"] == "INCONCLUSIVE"


def test_file_that_is_no_store_is_said_in_one_line(places: Places) -> None:
    places.home.mkdir()
    (places.home / "mlflow.db").write_bytes(b"no store" * 1000)
    for ask in (registry.resolve, registry.last_verdict):
        with pytest.raises(RegistryError, match=r"mlflow.db cannot be read as MLflow's store"):
            ask("penguins", places)


def test_altered_copy_is_refused(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    found = registry.resolve("penguins", places)
    assert found is not None
    content = found.path.read_bytes()
    found.path.write_bytes(content.replace(b"Torgersen", b"Torgersem"))
    with pytest.raises(ModelError, match="is not the file that was registered"):
        Model(found.path, found.digest)
    healed = registry.resolve("penguins", places)
    assert healed is not None
    assert healed.path.read_bytes() == content


def test_file_gone_from_the_store_is_said_with_the_way_out(places: Places, raised: Raised) -> None:
    promoted(raised[0], places)
    for file in [*places.home.rglob("*.onnx")]:
        file.unlink()
    with pytest.raises(
        RegistryError,
        match=r"penguins version 1: its model.onnx cannot be had from the store .*creche retrain penguins --force",
    ):
        registry.resolve("penguins", places)


def test_failed_run_never_counts_as_done(places: Places, raised: Raised) -> None:
    promoted(raised[0], places, "FAILED")
    assert registry.last_verdict("penguins", places) is None
    promoted(raised[0], places)
    last = registry.last_verdict("penguins", places)
    assert last is not None
    assert (last["verdict"], last["fingerprint"]) == ("PROMOTE", "f")


def test_file_changed_after_the_verdict_is_not_promoted(places: Places, raised: Raised, tmp_path: Path) -> None:
    copy = Places(places.root, places.home, tmp_path / "copy")
    shutil.copytree(places.folder, copy.folder)
    content = (copy / MODEL).read_bytes()
    (copy / MODEL).write_bytes(content.replace(b"Torgersen", b"Torgersem"))
    run = registry.Run.begin("penguins", "run", {}, {}, places)
    with pytest.raises(ModelError, match="changed after it was judged"):
        run_step("promote", raised[0], copy, record=run)
    assert registry.resolve("penguins", places) is None


def test_live_figures_reach_the_store(places: Places) -> None:
    run = registry.Run.begin("penguins", "run", {}, {}, places)
    for epoch in range(1, 6):
        run.log({"loss": 1 / epoch}, epoch)
    run.finish("FINISHED")
    history = registry.client(places).get_metric_history(run.id, "loss")
    assert [(m.step, m.value) for m in history] == [(e, 1 / e) for e in range(1, 6)]


def test_champion_is_a_pyfunc_model_by_its_alias(places: Places, raised: Raised) -> None:
    import mlflow
    import pandas as pd

    promoted(raised[0], places)
    mlflow.set_tracking_uri(registry.store(places))
    mlflow.set_registry_uri(registry.store(places))
    loaded = mlflow.pyfunc.load_model("models:/penguins@champion")
    frame = pd.DataFrame({n: [v if n == "island" else float(v)] * 2 for n, v in BIRD.items()})
    assert list(loaded.predict(frame.astype(dict.fromkeys(list(BIRD)[1:], "float32")))["label"]) == ["Chinstrap"] * 2


def test_champion_is_a_spark_udf_by_its_alias(
    places: Places, raised: Raised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Spark needs Java, and there is none")
    import mlflow
    import pandas as pd
    from pyspark.sql import SparkSession

    islands = ["Biscoe", "Dream", "Torgersen", "Signy"]
    chance, rows = np.random.default_rng(0), 1000
    birds = pd.DataFrame({"ring": np.arange(rows), "island": chance.choice(islands, rows)})
    for name, value in list(BIRD.items())[1:]:
        birds[name] = float(value) * chance.uniform(0.8, 1.2, rows)  # doubles, as Spark reads them
    promoted(raised[0], places)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    mlflow.set_tracking_uri(registry.store(places))
    mlflow.set_registry_uri(registry.store(places))
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(tmp_path),
    }
    with SparkSession.builder.master("local[2]").config(map=settings).getOrCreate() as spark:
        udf = mlflow.pyfunc.spark_udf(spark, "models:/penguins@champion", env_manager="local")
        scored = spark.createDataFrame(birds).withColumn("found", udf()).select("ring", "found.*")
        found = pd.DataFrame([row.asDict() for row in scored.collect()]).sort_values("ring")
    expected = Model(places / MODEL).answer({n: birds[n].to_numpy() for n in BIRD})
    assert found["label"].tolist() == expected.labels.tolist()
    assert set(found["label"]) == {"Adelie", "Chinstrap", "Gentoo", "unknown"}
    assert np.array_equal(np.stack(found["probabilities"]).astype(np.float32), expected.probabilities, equal_nan=True)
    assert np.array_equal(found["typicality"].astype(np.float32), expected.typicality, equal_nan=True)
    assert np.array_equal(np.stack(found["prediction_set"]), expected.sets)
