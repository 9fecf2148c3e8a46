"""Versions of a model are listed, evaluated, promoted, rolled back, reproduced and pruned."""

import json
import os
import re
import time
from pathlib import Path
from typing import Protocol

import pytest
from support.projects import call_cli, edit, new_project

from creche import registry
from creche.api.project import Project
from creche.project import CHECKPOINTS, ProjectPaths
from creche.registry import promotion_log


class RunCommand(Protocol):
    """Runs a command and returns what it printed; fails where its exit code is another."""

    def __call__(self, *arguments: str, code: int = 0) -> str: ...


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion, version 1, and a rejected version 2."""
    root = new_project(tmp_path_factory.mktemp("versions") / "project")
    project = Project(root)
    assert project.retrain("penguins").state == "Promoted"
    recipe = root / "recipes" / "penguins.yaml"
    original = edit(recipe, "epochs: 150", "epochs: 1")
    edit(recipe, "learning_rate: 0.01", "learning_rate: 1.0e-6")
    assert project.retrain("penguins").state == "Rejected"
    recipe.write_text(original)
    return root


@pytest.fixture
def creche(two_versions: Path) -> RunCommand:
    def run(*arguments: str, code: int = 0) -> str:
        result = call_cli(two_versions, *arguments)
        output = result.stdout + result.stderr
        assert result.returncode == code, output
        return output

    return run


def test_champion_is_described(creche: RunCommand) -> None:
    description = creche("show", "penguins")
    for fact in (
        "penguins: predicts species (Adelie, Chinstrap, Gentoo)",
        "body_mass_g          number    from 2000 to 8000 g",
        "188 rows",
        "License: CC0-1.0.",
    ):
        assert fact in description


def test_versions_are_listed_with_their_verdicts(creche: RunCommand) -> None:
    models = json.loads(creche("models", "penguins", "--json"))
    assert [(model["champion"], model["verdict"]) for model in models] == [
        (True, "PROMOTE"),
        (False, "REJECT"),
    ]


def test_versions_are_evaluated_against_each_other(creche: RunCommand) -> None:
    assert "REJECT  Accuracy" in creche("evaluate", "penguins@2", code=3)
    table = creche("evaluate", "penguins@2", "--against", "penguins@1", code=3)
    assert "| golden row mismatches | 0 | 0 | passed |" in table
    comparison = creche("evaluate", "penguins@1", "--against", "penguins@champion", code=3)
    assert "INCONCLUSIVE  It is no worse" in comparison


def test_rejected_version_is_promoted_by_hand_and_rolled_back(creche: RunCommand) -> None:
    refusal = creche("rollback", "penguins", "--to", "2", "--reason", "x", code=1)
    assert "was never champion (REJECT)" in refusal
    promotion = creche("promote", "penguins@2", "--reason", "a drill")
    assert promotion.startswith("penguins@2 is champion: override by")
    rollback = creche("rollback", "penguins", "--reason", "the drill is over")
    assert rollback.startswith("penguins@1 is champion: rollback by")
    history = creche("history", "penguins")
    assert re.search(r"to now +version +1  rollback by \w+: the drill is over", history)
    override = r"version +2  override by \w+, overrules [0-9a-f]{16} \(REJECT against 1\): a drill"
    assert re.search(override, history)
    assert "has no champion yet" in creche("history", "penguins", "--at", "2020-01-01")
    assert "not a time" in creche("history", "penguins", "--at", "noon", code=2)
    pruned = json.loads(creche("prune", "penguins", "--keep", "0", "--json"))
    assert pruned["deleted"] is False
    # Both have been champion.
    assert not {"1", "2"} & {*pruned["versions"]}


def test_prune_without_a_recipe_deletes_the_stale_files_too(project: Path) -> None:
    checkpoint = project / "var" / CHECKPOINTS / "old"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    long_ago = time.time() - 91 * 86_400
    os.utime(checkpoint, (long_ago, long_ago))
    listed = call_cli(project, "prune")
    assert listed.stdout.splitlines() == [
        f"  {checkpoint}",
        "0 versions and 1 folders and files would be deleted; --yes deletes them",
    ]
    assert checkpoint.exists()
    deleted = json.loads(call_cli(project, "prune", "--yes", "--json").stdout)
    assert deleted == {"versions": [], "files": [str(checkpoint)], "deleted": True}
    assert not checkpoint.exists()


@pytest.mark.parametrize("command", ["models", "history", "prune"])
def test_reading_leaves_an_interrupted_promotion_and_names_the_remedy(
    command: str, creche: RunCommand, two_versions: Path
) -> None:
    paths = ProjectPaths.find(two_versions)
    registry.set_champion_alias("penguins", "2", paths)
    output = creche(command, "penguins")
    assert "by the promotion log version 1 is champion, not 2: run `creche doctor --fix`" in output
    assert registry.champion_version("penguins", paths) == "2"
    assert promotion_log.reconcile("penguins", paths) is not None
    assert registry.champion_version("penguins", paths) == "1"


def test_promotion_needs_the_number_of_a_version(creche: RunCommand) -> None:
    assert "by its number" in creche("promote", "penguins", "--reason", "x", code=2)


def test_champion_is_reproduced_and_a_version_of_another_recipe_is_not(
    creche: RunCommand,
) -> None:
    champion = creche("reproduce", "penguins@champion")
    assert champion.startswith("IDENTICAL  penguins@1, SHA-256 ")
    refusal = creche("reproduce", "penguins@2", code=1)
    assert "is not the one that trained penguins@2" in refusal
