"""The retrain command and flow: with a real Prefect server, and without any."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from support.processes import wait_until
from support.projects import BIRD, WINE, Cli, call_cli, edit, new_project, run_cli

from creche import registry
from creche.api.project import Project
from creche.pipeline import run_step
from creche.project import ProjectPaths
from creche.recipe import load

Server = dict[str, str]


@pytest.fixture(scope="module")
def champion_project(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> Path:
    """A project with a champion."""
    root = new_project(tmp_path_factory.mktemp("champion") / "project")
    done = run_cli(root, "retrain", "penguins", **prefect_server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PROMOTED  All checks passed")
    return root


def flow_runs(server: Server) -> list[dict[str, object]]:
    import urllib.request

    begun = {"start_time": {"is_null_": False}}  # what is scheduled for later comes first fallback
    body = json.dumps({"sort": "START_TIME_DESC", "flow_runs": begun}).encode()
    request = urllib.request.Request(
        server["PREFECT_API_URL"] + "/flow_runs/filter", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        found: list[dict[str, object]] = json.load(answer)
    return found


def test_summary_says_it_all_on_one_screen(champion_project: Path, prefect_server: Server) -> None:
    done = run_cli(champion_project, "retrain", "penguins", **prefect_server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("UNCHANGED  Data, recipe, code and libraries are those of run")
    for fact in (
        r"version 416d54adb83e",
        r"344 in, 342 accepted, 2 quarantined",
        r"2 × body_mass_g: missing",
        r"train 188, validation 44, holdout 110",
        r"accuracy 1.0000, 95 % interval 0.9663 to 1.0000",
        r"Adelie 1.000 of 42, Chinstrap 1.000 of 24, Gentoo 1.000 of 44",
        r"PROMOTE \([0-9a-f]{16}\), against no champion",
        r"version 1, digest [0-9a-f]{12}, champion",
        r"Next steps:",
    ):
        assert re.search(fact, done.stdout), fact
    assert len(done.stdout.splitlines()) < 30


@pytest.mark.parametrize("on_prefect", [True, False])
def test_unchanged_run_imports_only_what_it_needs(
    champion_project: Path, prefect_server: Server, on_prefect: bool
) -> None:
    script = (
        "import sys; from creche.cli import main; code = main(['retrain', 'penguins'])\n"
        "heavy = ('torch', 'great_expectations', 'prefect', 'mlflow')\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=champion_project,
        env={**os.environ, **(prefect_server if on_prefect else {"PREFECT_API_URL": ""})},
        capture_output=True,
        text=True,
    )
    expected = "0 ['prefect']" if on_prefect else "0 []"
    assert result.stdout.splitlines()[-1] == expected
    if on_prefect:
        assert flow_runs(prefect_server)[0]["state_name"] == "Unchanged"


def test_operator_sees_names_states_and_artifacts(
    champion_project: Path, prefect_server: Server
) -> None:
    import urllib.request

    run = next(r for r in flow_runs(prefect_server) if r["state_name"] == "Promoted")
    assert str(run["name"]).startswith("penguins · data 416d54ad · manual · 20")
    assert set(run["tags"]) == {"penguins", "data 416d54adb83e"}  # type: ignore[call-overload]
    with urllib.request.urlopen(
        prefect_server["PREFECT_API_URL"] + "/artifacts/retrain-penguins/latest"
    ) as answer:
        latest = json.load(answer)
    assert latest["type"] == "markdown"
    with urllib.request.urlopen(
        prefect_server["PREFECT_API_URL"] + "/artifacts/validation-penguins/latest"
    ) as answer:
        table = json.load(answer)
    assert {"reason": "accepted", "rows": 342} in json.loads(table["data"])


def test_score_and_predict_answer_with_the_champion(champion_project: Path) -> None:
    done = run_cli(
        champion_project,
        "score",
        "examples/observations.csv",
        "--recipe",
        "penguins",
        "--out",
        "out",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SCORED  37 of 40 rows scored with penguins version 1 (")
    assert pq.read_table(champion_project / "out/predictions.parquet").num_rows == 37
    verdict = next(
        json.loads(f.read_text()) for f in champion_project.glob("var/runs/*/verdict.json")
    )
    manifest = json.loads((champion_project / "out/manifest.json").read_text())
    assert manifest["model"]["verdict_id"] == verdict["id"]
    why = run_cli(champion_project, "trace", "out:1")
    assert f"verdict PROMOTE {verdict['id']}" in why.stdout
    for model in ("penguins", "penguins@champion", "penguins@1", "recipes/penguins.yaml"):
        done = run_cli(
            champion_project, "predict", model, *(f"{k}={v}" for k, v in BIRD.items()), "--json"
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["label"], answer["model_version"]) == ("Chinstrap", "1")


def test_poor_model_is_rejected_and_the_champion_stays(
    champion_project: Path, prefect_server: Server
) -> None:
    recipe = champion_project / "recipes/penguins.yaml"
    original = edit(recipe, "epochs: 150", "epochs: 1")
    edit(recipe, "learning_rate: 0.01", "learning_rate: 1.0e-6")
    try:
        result = run_cli(champion_project, "retrain", "penguins", **prefect_server)
    finally:
        recipe.write_text(original)
    assert result.returncode == 3, result.stderr
    assert re.match(r"REJECTED  .*below (its|the) threshold", result.stdout)
    assert flow_runs(prefect_server)[0]["state_name"] == "Rejected"
    bird = [f"{name}={value}" for name, value in BIRD.items()]
    result = run_cli(champion_project, "predict", "penguins", *bird, "--json")
    assert json.loads(result.stdout)["model_version"] == "1"


def test_other_seed_is_compared_with_the_champion(champion_project: Path) -> None:
    recipe = champion_project / "recipes/penguins.yaml"
    selection = "  checkpoint_selection: best\n"
    original = edit(recipe, f"{selection}  seed: 0", f"{selection}  seed: 5")
    try:
        record = Project(champion_project).retrain("penguins")
    finally:
        recipe.write_text(original)
    assert record.verdict.champion.version == "1"
    assert record.verdict.comparison.rows == 110
    assert record.state == {"PROMOTE": "Promoted"}.get(record.verdict.verdict, "Inconclusive")


def test_card_tells_what_the_run_found(champion_project: Path) -> None:
    folder = next(
        f.parent
        for f in champion_project.glob("var/runs/*/run.json")
        if json.loads(f.read_text())["state"] == "Promoted"
    )
    run, card = (
        json.loads((folder / "verdict.json").read_text()),
        (folder / "card.html").read_text(),
    )
    for fact in ("Accuracy 1.0000 on 110 holdout rows", run["id"], "island Dream", "CC0-1.0", "Gorman KB", "Out of scope: chicks",
                 "344 rows, 342 accepted, 2 quarantined", "creche reproduce penguins@1", "bill_length_mm"):  # fmt: skip
        assert fact in card, fact
    assert card.count("data:image/png;base64,") == 2
    assert "http://" not in card
    assert "https://" not in card


@pytest.fixture
def two_versions(champion_project: Path) -> Path:
    """The same project, with a rejected version 2."""
    opened = Project(champion_project)
    if len(registry.list_versions(opened.paths, "penguins")) == 1:
        recipe = champion_project / "recipes/penguins.yaml"
        original = edit(recipe, "epochs: 150", "epochs: 1")
        edit(recipe, "learning_rate: 0.01", "learning_rate: 1.0e-6")
        try:
            assert opened.retrain("penguins").state == "Rejected"
        finally:
            recipe.write_text(original)
    return champion_project


def test_versions_are_evaluated_promoted_and_rolled_back_by_hand(two_versions: Path) -> None:
    def said(*words: str, code: int = 0) -> str:
        done = call_cli(two_versions, *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    for fact in ("penguins: predicts species (Adelie, Chinstrap, Gentoo)", "body_mass_g          number    from 2000 to 8000 g",
                 "188 rows", "license CC0-1.0"):  # fmt: skip
        assert fact in said("show", "penguins")
    models = json.loads(said("models", "penguins", "--json"))
    assert [(m["champion"], m["verdict"]) for m in models[:2]] == [
        (True, "PROMOTE"),
        (False, "REJECT"),
    ]
    assert "REJECT  Accuracy" in said("evaluate", "penguins@2", code=3)
    judged = said("evaluate", "penguins@2", "--against", "penguins@1", code=3)
    assert "| golden row mismatches | 0 | 0 | passed |" in judged
    assert "INCONCLUSIVE  It is no worse" in said(
        "evaluate", "penguins@1", "--against", "penguins@champion", code=3
    )
    assert "was never champion (REJECT)" in said(
        "rollback", "penguins", "--to", "2", "--reason", "x", code=1
    )
    assert said("promote", "penguins@2", "--reason", "a drill").startswith(
        "penguins@2 is champion: override by"
    )
    assert said("rollback", "penguins", "--reason", "the drill is over").startswith(
        "penguins@1 is champion: rollback by"
    )
    history = said("history", "penguins")
    assert re.search(r"to now +version +1  rollback by \w+: the drill is over", history)
    assert re.search(
        r"version +2  override by \w+, overrules [0-9a-f]{16} \(REJECT against 1\): a drill",
        history,
    )
    assert "has no champion yet" in said("history", "penguins", "--at", "2020-01-01")
    assert "not a time" in said("history", "penguins", "--at", "noon", code=2)
    assert said("reproduce", "penguins@champion").startswith("IDENTICAL  penguins@1, SHA-256 ")
    assert "is not the one that trained penguins@2" in said("reproduce", "penguins@2", code=1)
    pruned = json.loads(said("prune", "penguins", "--keep", "0", "--json"))
    assert pruned["deleted"] is False
    assert not {"1", "2"} & {*pruned["versions"]}  # they have been champion
    assert "by its number" in said("promote", "penguins", "--reason", "x", code=2)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["retrain", "pengins"], 1, "no recipe 'pengins'"),
        (["retrain", "penguins", "--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (["predict", "penguins", "island"], 2, "'island' is not NAME=VALUE"),
        (["predict", "nobody", "a=1"], 1, "nobody has no champion: `creche retrain nobody`"),
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
        (["fly"], 2, "invalid choice: 'fly'"),
    ],
)
def test_mistake_is_one_sentence_and_an_exit_code(
    champion_project: Path, words: list[str], code: int, message: str
) -> None:
    done = run_cli(champion_project, *words)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_data_edited_by_hand_fail_the_run(project: Path) -> None:
    run_step("pull", load("penguins", project), ProjectPaths.find(project).experiment("penguins"))
    file = project / "data/penguins.csv"
    file.chmod(0o644)
    row = "PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,14.3,215,4850,\n"
    file.write_text(file.read_text() + row)
    record = Project(project).retrain("penguins")
    assert record.state == "Failed"
    assert record.message.startswith("data/ holds changes that DVC does not know")


def test_too_many_bad_rows_end_the_run_quarantined(
    cli: Cli, project: Path, prefect_server: Server
) -> None:
    edit(project / "recipes/penguins.yaml", "min: 2000", "min: 4000")
    result = cli("retrain", "penguins", **prefect_server)
    assert result.returncode == 1
    assert re.match(
        r"QUARANTINED  data/penguins.csv: \d+ of 344 rows .* × body_mass_g: below 4000 g",
        result.stdout,
    )
    assert flow_runs(prefect_server)[0]["state_name"] == "Quarantined"


def test_cuda_that_is_not_there_fails_the_run(project: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    record = Project(project).retrain("penguins", device="cuda")
    assert record.state == "Failed"
    assert record.message.startswith("device cuda is not available")


@pytest.mark.parametrize("on_prefect", [True, False])
def test_interrupted_run_leaves_nothing_that_counts(
    project: Path, prefect_server: Server, on_prefect: bool
) -> None:
    recipe = project / "recipes/penguins.yaml"
    original = edit(recipe, "epochs: 150", "epochs: 1000000\n  checkpoint_epochs: 20")
    server = prefect_server if on_prefect else {"PREFECT_API_URL": ""}
    run = subprocess.Popen(
        [sys.executable, "-m", "creche.cli", "retrain", "penguins"],
        cwd=project,
        env={**os.environ, **server},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(
            lambda: run.poll() is not None or list(project.glob("var/checkpoints/*")),
            120,
            "the run trains",
        )
        assert run.poll() is None
        # As a terminal does, to the whole process group.
        os.killpg(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "creche: interrupted" in errors
    record = json.loads(next(project.glob("var/runs/*/run.json")).read_text())
    assert record["state"] == "Interrupted"
    recipe.write_text(original)
    assert run_cli(project, "predict", "penguins", "a=1").returncode == 1
    if not on_prefect:
        assert Project(project).retrain("penguins").state == "Promoted"


def test_recipe_of_any_name_runs_and_odd_columns_meet_nothing_in_the_graph(
    project: Path,
) -> None:
    """Columns called as tensors and files of ours are, in a recipe with capitals and an underscore
    in its name.
    """
    names = {
        "island": "class",
        "bill_length_mm": "features",
        "bill_depth_mm": "axis",
        "flipper_length_mm": "logits",
    }
    recipe = yaml.safe_load((project / "recipes/penguins.yaml").read_text())
    columns = {}
    for name, column in recipe["columns"].items():
        aliases = [name] if name in names else []
        columns[names.get(name, name)] = {**column, "aliases": aliases}
    recipe["columns"] = columns
    recipe["features"] = {
        names.get(name, name): encoding for name, encoding in recipe["features"].items()
    }
    recipe["gate"] |= {"slices": {"class": 0.9}, "behavior": []}
    (project / "recipes/My_birds.yaml").write_text(yaml.safe_dump(recipe))
    record = Project(project).retrain("My_birds")
    assert record.state == "Promoted", record.message


def test_flow_stands_without_a_server_and_without_its_pages(project: Path) -> None:
    """On Prefect's embedded server, whose tables refuse every page."""
    script = (
        "from creche.operations import prefect_environment\n"
        "from creche.project import ProjectPaths\n"
        "prefect_environment.configure(ProjectPaths.find())\n"
        "from flows.retrain import retrain\n"
        "retrain('penguins', return_state=True)\n"
    )

    def run_flow() -> None:
        environment = {**os.environ, "PREFECT_API_URL": ""}
        command = [sys.executable, "-c", script]
        subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)

    recipe = project / "recipes/penguins.yaml"
    original = edit(recipe, "path: data/penguins.csv", "path: data/absent.csv")
    run_flow()
    recipe.write_text(original)
    tables = project / "var/prefect/prefect.db"
    with closing(sqlite3.connect(tables)) as opened, opened:
        opened.execute(
            "CREATE TRIGGER full BEFORE INSERT ON artifact BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    run_flow()
    states = []
    for path in sorted(project.glob("var/runs/*/run.json")):
        states.append(json.loads(path.read_text())["state"])
    # The verdict stands without a page.
    assert states == ["Failed", "Promoted"]
    with closing(sqlite3.connect(tables)) as opened:
        warnings = opened.execute(
            "SELECT message FROM log WHERE message LIKE 'not shown in the Prefect UI%'"
        ).fetchall()
    assert len(warnings) >= 3


def test_run_without_a_server_needs_no_prefect(cli: Cli, project: Path) -> None:
    result = cli("retrain", "penguins-lab", PREFECT_API_URL="")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("PROMOTED")
    assert "nan" not in result.stdout
    assert not (project / "var/prefect").exists()


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_any_table_goes_through_the_same_pipeline(cli: Cli, project: Path) -> None:
    record = Project(project).retrain("wine-course", data=WINE)
    assert record.state == "Promoted", record.message
    assert (record.validation.rows, record.validation.accepted) == (1599, 1599)
    result = cli("score", str(WINE), "--recipe", "wine-course", "--out", "out")
    assert result.returncode == 0, result.stderr
    table = pq.read_table(project / "out/predictions.parquet")
    assert table.num_rows == 1599
    assert (table["predicted_quality"].to_numpy() == table["quality"].to_numpy()).mean() > 0.5


def test_new_data_version_trains_again(cli: Cli, project: Path) -> None:
    opened = Project(project)
    assert opened.retrain("penguins").state == "Promoted"
    file = project / "data/penguins.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.unlink()
    file.write_text("".join(lines[:-1]))
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "data"], cwd=project, check=True)
    record = opened.retrain("penguins")
    assert record.validation.rows == 343
    assert record.verdict.champion.version == "1"
    shutil.rmtree(project / ".dvc/cache")  # the older data are in the remote alone
    result = cli("reproduce", "penguins@1")
    assert result.stdout.startswith("IDENTICAL  penguins@1"), result.stdout + result.stderr


def test_home_can_be_moved(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRECHE_HOME", str(tmp_path / "home"))
    assert Project(project).retrain("penguins").state == "Promoted"
    assert not (project / "var").exists()
    assert (tmp_path / "home/mlflow.db").is_file()


def test_yaml_of_every_recipe_is_a_dvc_params_file(project: Path) -> None:
    for stage in yaml.safe_load((project / "dvc.yaml").read_text())["stages"].values():
        for entry in stage["do"].get("params", []):
            assert next(iter(entry)).startswith("recipes/${item}.yaml")
    assert ProjectPaths.find().root == project
