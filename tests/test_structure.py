"""Flow, stages and steps have one order and one set of files; every command is documented."""

import argparse
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from support.projects import ROOT

from creche.cli.main import build_parser
from creche.pipeline import STEPS
from creche.recipe import Training

sys.path.insert(0, str(ROOT / "scripts"))
import docs_hooks

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What dvc.yaml adds to a step's own files: the code, and the data that only DVC sees.
BESIDES = {"src/creche", "data/penguins.csv"}


def files(stage: dict[str, object], *keys: str) -> set[str]:
    found: set[str] = set()
    for key in keys:
        for entry in stage.get(key, []):  # type: ignore[attr-defined]
            found.add(next(iter(entry)) if isinstance(entry, dict) else entry)
    return {f.removeprefix("experiments/${item}/") for f in found - BESIDES}


def test_stages_are_the_steps_in_their_order_without_promotion() -> None:
    assert tuple(STAGES) == STEPS[:-1]


def test_runner_executes_every_step_in_order() -> None:
    source = (ROOT / "src/creche/pipeline/runner.py").read_text()
    # The step train is in a method of its own, below the one that calls it.
    calls = re.findall(r'self\._(?:step\(\s*"(\w+)"|train\((tracked_run)\))', source)
    steps = [step or "train" for step, _ in calls]
    assert tuple(dict.fromkeys(steps)) == STEPS


def test_flow_has_a_task_for_every_step() -> None:
    from creche.operations.prefect_run import STEP_TASKS

    assert tuple(STEP_TASKS) == STEPS


@pytest.mark.parametrize("name", STEPS[:-1])
def test_stage_reads_and_writes_what_its_step_says(name: str) -> None:
    step, stage = import_module(f"creche.pipeline.{name}"), STAGES[name]["do"]
    assert stage["cmd"] == f"creche step {name} ${{item}}"
    assert files(stage, "deps") == set(step.INPUTS)
    assert files(stage, "outs", "metrics", "plots") == set(step.OUTPUTS)


def test_params_of_every_stage_are_those_of_a_recipe() -> None:
    for stage in STAGES.values():
        for entry in stage["do"].get("params", []):
            assert next(iter(entry)).startswith("recipes/${item}.yaml")


def test_every_file_is_written_before_it_is_read() -> None:
    there: set[str] = set()
    for name in STEPS:
        step = import_module(f"creche.pipeline.{name}")
        assert set(step.INPUTS) <= there, name
        there |= set(step.OUTPUTS)


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("creche.cli, creche.registry, creche.scoring.single_row", "torch prefect great_expectations mlflow dvc pandas pyarrow pydantic"),
        ("creche.cli, creche.registry, creche.scoring.batch", "torch prefect great_expectations mlflow dvc pydantic"),
    ],
)  # fmt: skip
def test_scoring_imports_nothing_heavy(modules: str, absent: str) -> None:
    check = f"import {modules}, sys; print([m for m in {absent!r}.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def commands() -> dict[str, argparse.ArgumentParser]:
    actions = build_parser()._actions
    return next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices  # type: ignore[return-value]


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_of_every_command_has_an_example(name: str) -> None:
    assert f"creche {name} " in str(commands()[name].epilog)


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_commands_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # In code: `creche NAME …`, or a line of a block that begins so.
    named = set(re.findall(r"(?:`|^\$ |^)creche ([a-z]+)", text, flags=re.MULTILINE))
    assert named <= set(commands())


def test_reference_lists_every_command_and_every_recipe_key() -> None:
    cli = docs_hooks.cli_reference()
    recipe = docs_hooks.recipe_reference()
    for name in commands():
        assert f"## creche {name}\n" in cli
    for name in Training.model_fields:
        assert f"`{name}`" in recipe


def test_reference_states_type_default_and_meaning_of_every_recipe_key() -> None:
    rows = []
    for line in docs_hooks.recipe_reference().splitlines():
        if line.startswith("| `"):
            cells = line.replace("\\|", "").strip("| ").split(" | ")
            rows.append([cell.strip() for cell in cells])
    assert ["`accuracy`", "number", "`0.9`", "Least accuracy on the holdout, 0..1."] in rows
    assert ["`hidden`", "list of whole number", "`[10, 10]`"] in [row[:3] for row in rows]
    keys = [row[0] for row in rows]
    assert {"`missing_values`", "`decimal_mark`"} <= set(keys)
    for row in rows:
        assert len(row) == 4, row
        assert all(row), row


def test_nothing_in_the_code_names_penguins() -> None:
    """Examples aside: those in docstrings, in the command line's help, and the recipe that an error
    points to.
    """
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        code = re.sub(
            r'""".*?"""|#[^\n]*|copy of recipes/penguins.yaml',
            "",
            file.read_text(),
            flags=re.DOTALL,
        )
        assert file.parent.name == "cli" or "penguin" not in code.lower(), file


def test_no_registry_host_in_the_lock() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_environment_is_read_in_one_module() -> None:
    # torchrun tells its processes who they are by the environment.
    allowed = {"src/creche/settings.py", "src/creche/training/process_group.py"}
    readers = set()
    for folder in ("src", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            if re.search(r"environ\.get\(|getenv\(", path.read_text(encoding="utf-8")):
                readers.add(path.relative_to(ROOT).as_posix())
    assert readers <= allowed
