"""Every command of README and docs is run as it stands there, in order, in a fresh project.

A command that stands in a document and in no test below fails the first of them.
"""

import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.documents import block_of, commands, documents
from support.processes import starting_services
from support.projects import ROOT, UNSET, call_cli, edit, git_changes, new_project, run_cli

from creche.api.project import Project
from creche.cli.arguments import NOT_PROMOTED
from creche.cli.main import build_parser
from creche.recipe import load
from creche.recipe.schema import Recipe

sys.path.insert(0, str(ROOT / "scripts"))
import docs_hooks

GUIDES = ROOT / "docs/guides"
README = ROOT / "README.md"
OWN_TABLE = GUIDES / "own-table.md"
OWN_IMAGES = GUIDES / "own-images.md"
EXPERIMENTS = GUIDES / "experiments.md"
# Documents whose commands the tests below run, each from its first to its last.
RUN_HERE = (
    README,
    ROOT / "docs/getting-started.md",
    GUIDES / "scoring.md",
    ROOT / "docs/concepts/artifact.md",
    ROOT / "docs/concepts/promotion.md",
    OWN_TABLE,
    OWN_IMAGES,
    EXPERIMENTS,
)
# What no test can run as it stands: whole runs of these tests, and several machines.
NOT_RUN = {
    "make run",
    "make test",
    "make test-all",
    "make .venv/ready",
    "source .venv/bin/activate",
    "export MLFLOW_TRACKING_URI=http://mlflow:5000",
    "creche up --detach --pool cpu",
    "creche step train RECIPE --processes 4 --hosts 2 --rendezvous 10.0.0.1:29400",
}
SERVICES = ("creche up", "creche status", "creche down", "creche doctor", "creche submit")


def run(project: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a documented command in this process where it is one of creche's, else in a shell."""
    arguments = shlex.split(command)
    if arguments[0] == "creche":
        return call_cli(project, *arguments[1:])
    clean = {key: value for key, value in os.environ.items() if key not in UNSET}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=project,
        env={**clean, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )


def run_in_order(project: Path, documented: list[str]) -> list[str]:
    """Run documented commands but for those of the services; return what each printed."""
    outputs = []
    for command in documented:
        if command in NOT_RUN or command.startswith(SERVICES):
            continue
        result = run(project, command)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        outputs.append(result.stdout)
    return outputs


def test_every_documented_command_is_run_by_a_test_or_cannot_be() -> None:
    for document in documents():
        if document not in RUN_HERE:
            assert set(commands(document)) <= NOT_RUN, document


def test_commands_of_readme_and_first_pages_run_in_order(champion_project: Path) -> None:
    documented = []
    for document in RUN_HERE[:4]:
        documented += commands(document)
    assert len(documented) > 15
    outputs = run_in_order(champion_project, documented)
    assert outputs[0].startswith("UNCHANGED")
    assert outputs[1].startswith("SCORED  37 of 40 rows scored with penguins version 1 (")
    assert "replayed: the same label and probabilities, bit for bit" in outputs[3]


def test_readme_has_fewer_than_700_words() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 700


def test_recipes_of_the_guides_are_valid(tmp_path: Path) -> None:
    for document in (README, OWN_TABLE, OWN_IMAGES):
        (tmp_path / "yours.yaml").write_text(block_of(document, "yaml"), encoding="utf-8")
        assert load(str(tmp_path / "yours.yaml"), tmp_path).name == "yours"


def test_defaults_of_the_guide_are_those_of_the_code() -> None:
    rows = []
    for line in OWN_TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and "." in cells[1] and cells[1].startswith("`"):
            rows.append((cells[1].strip("`"), yaml.safe_load(cells[2])))
    assert len(rows) > 8
    for key, stated in rows:
        section_name, name = key.split(".")
        section = Recipe.model_fields[section_name].default
        default = getattr(section, name)
        assert (list(default) if isinstance(default, tuple) else default) == stated, key


def write_table(path: Path, sites: int, with_label: bool) -> None:
    """Write a table as the guide describes it, with a column that the recipe does not name."""
    chance = random.Random(0)
    lines = ["site,grade,Weight,note" if with_label else "site,Weight,note"]
    for site in range(sites):
        for _ in range(10):
            grade = chance.choice(["good", "bad"])
            # They overlap: a column that tells the classes apart by itself is taken for a leak.
            weight = chance.uniform(400, 800) if grade == "good" else chance.uniform(100, 500)
            label = f"{grade}," if with_label else ""
            lines.append(f"s{site},{label}{weight:.1f},a note")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_guide_to_a_table_of_ones_own_leads_from_an_empty_folder_to_predictions(
    tmp_path: Path,
) -> None:
    write_table(tmp_path / "data/yours.csv", sites=60, with_label=True)
    write_table(tmp_path / "new.csv", sites=5, with_label=False)
    outputs = run_in_order(tmp_path, commands(OWN_TABLE))
    assert outputs[-2].startswith("PROMOTED")
    assert outputs[-1].startswith("SCORED  50 of 50 rows scored with yours version 1")
    assert " var/" not in git_changes(tmp_path)


@pytest.mark.slow
def test_commands_of_the_guide_to_images_track_them(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"an image")
    run_in_order(tmp_path, commands(OWN_IMAGES))
    assert (tmp_path / "photos.dvc").is_file()


@pytest.mark.slow
def test_guide_to_experiments_leaves_the_recipe_as_it_was(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    edit(project / ".dvc/config", "\n    no_scm = true", "")
    shutil.copytree(
        ROOT / "src/creche", project / "src/creche", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / ".gitignore", project / ".gitignore")
    commit = "git init -q && git add -A && git -c user.name=x -c user.email=x@y commit -qm first"
    assert run(project, commit).returncode == 0
    recipe = (project / "recipes/penguins.yaml").read_text()
    run_in_order(project, commands(EXPERIMENTS))
    assert (project / "recipes/penguins.yaml").read_text() == recipe


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion, version 2, of the recipe that is there, and an earlier one."""
    root = new_project(tmp_path_factory.mktemp("documented") / "project")
    project = Project(root)
    assert project.retrain("penguins").state == "Promoted"
    edit(root / "recipes/penguins.yaml", "epochs: 150", "epochs: 100")
    project.retrain("penguins")
    promoted = call_cli(root, "promote", "penguins@2", "--reason", "a test")
    assert promoted.returncode == 0, promoted.stderr
    return root


@pytest.mark.slow
def test_commands_of_the_page_on_promotion_run_in_order(two_versions: Path) -> None:
    outputs = run_in_order(two_versions, commands(ROOT / "docs/concepts/promotion.md"))
    assert "penguins@1 is champion" in outputs[2]
    assert "penguins@2 is champion" in outputs[3]


@pytest.mark.slow
def test_example_in_the_help_of_every_command_runs(two_versions: Path) -> None:
    examples = []
    for parser in docs_hooks._commands(build_parser()).values():
        examples.append(docs_hooks._example(parser))
    pulled = call_cli(two_versions, "step", "pull", "penguins")
    assert pulled.returncode == 0, pulled.stderr
    run_folder = next((two_versions / "var/runs").glob("*/model.onnx")).parent
    for example in examples:
        if example.startswith(SERVICES):
            continue
        if example.startswith("creche promote"):
            # The examples stand by command; a rollback comes between two promotions.
            assert call_cli(two_versions, "rollback", "penguins", "--reason", "x").returncode == 0
        command = example.replace("RUN", run_folder.name)
        result = run(two_versions, command)
        allowed = [0]
        if example.startswith("creche evaluate"):
            allowed.append(NOT_PROMOTED)
        assert result.returncode in allowed, f"{command}: {result.stdout}{result.stderr}"


@pytest.mark.slow
def test_commands_of_the_readme_about_services_run(champion_project: Path) -> None:
    documented = [line for line in commands(README) if line.startswith(SERVICES)]
    assert [line.split()[1] for line in documented] == ["up", "status", "down"]
    up, status, down = (shlex.split(line)[1:] for line in documented)
    with starting_services():
        started = run_cli(champion_project, *up)
    try:
        assert started.returncode == 0, started.stderr
        assert run_cli(champion_project, *status).stdout.startswith(("UP", "UNHEALTHY"))
    finally:
        stopped = run_cli(champion_project, *down)
    assert stopped.stdout.startswith("DOWN"), stopped.stderr
