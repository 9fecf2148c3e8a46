"""Commands about registered models: models, evaluate, reproduce."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from creche.cli.arguments import (
    DEVICES,
    MODEL_HELP,
    NOT_PROMOTED,
    Commands,
    add_command,
    print_json,
)
from creche.cli.champion_alias import warn_if_alias_differs
from creche.project import ProjectPaths, recipe_name

if TYPE_CHECKING:
    from creche.registry import StoredVersion


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_models(commands)
    _add_evaluate(commands)
    _add_reproduce(commands)


def _add_models(commands: Commands) -> None:
    parser = add_command(
        commands,
        "models",
        _models,
        "List the versions of a recipe's model, with their verdicts.",
        "creche models penguins",
    )
    parser.add_argument("recipe", metavar="RECIPE")


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Evaluate any model as the gate does, beside another one; nothing is recorded.",
        "creche evaluate penguins@2 --against penguins@champion",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--against", metavar="MODEL", help="the model that it is compared with")


def _add_reproduce(commands: Commands) -> None:
    parser = add_command(
        commands,
        "reproduce",
        _reproduce,
        "Train a model again from its own data version and compare the bytes.",
        "creche reproduce penguins@champion",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="as in retrain")


def _models(options: argparse.Namespace) -> int:
    from creche import registry

    paths = ProjectPaths.find()
    recipe = recipe_name(options.recipe)
    warn_if_alias_differs(recipe, paths)
    champion = registry.champion_version(recipe, paths)
    versions = registry.list_versions(paths, recipe)
    if options.json:
        print_json([_version_fields(stored, champion) for stored in versions])
        return 0
    for stored in versions:
        mark = "champion" if str(stored.version) == champion else ""
        tags = stored.tags
        print(
            f"  {stored.version:>4}  {mark:8}  {tags.get('verdict', ''):12}  "
            f"data {tags.get('data_version', '')[:12]}  digest {tags.get('digest', '')[:12]}  "
            f"run {tags.get('run', '')}"
        )
    print(f"{len(versions)} versions of {recipe}")
    return 0


def _version_fields(stored: "StoredVersion", champion: str | None) -> dict[str, str | bool]:
    """Return a version for `--json`."""
    version = str(stored.version)
    return {"version": version, "champion": version == champion, **stored.tags}


def _evaluate(options: argparse.Namespace) -> int:
    from creche.pipeline.manual_evaluation import evaluate_manually
    from creche.records import PROMOTE
    from creche.reporting.formats import markdown_table
    from creche.reporting.sections import check_row

    verdict = evaluate_manually(options.model, options.against, ProjectPaths.find())
    exit_code = 0 if verdict.verdict == PROMOTE else NOT_PROMOTED
    if options.json:
        print_json(verdict)
        return exit_code
    print(f"{verdict.verdict}  {verdict.reason}\n")
    rows = [check_row(check) for check in verdict.checks]
    print(markdown_table(["check", "value", "threshold", ""], rows))
    return exit_code


def _reproduce(options: argparse.Namespace) -> int:
    from creche.pipeline.reproduce import reproduce

    result = reproduce(options.model, ProjectPaths.find(), options.device)
    agreement = result.agreement
    predicts_the_same = agreement.same_label == agreement.rows
    exit_code = 0 if result.same or (result.changed and predicts_the_same) else 1
    if options.json:
        print_json(asdict(result))
        return exit_code
    if result.same:
        print(f"IDENTICAL  {result.model}, SHA-256 {result.digest}")
        return exit_code
    print(f"DIFFERENT  {result.model} was {result.digest[:12]}, is {result.new_digest[:12]} now")
    difference = result.first_difference
    if difference:
        print(
            f"  the first byte that differs is {difference.byte} of {difference.file}, which "
            f"{difference.step} writes"
        )
    if result.changed:
        print(f"  changed since then: {', '.join(result.changed)}")
    print(
        f"  same label on {agreement.same_label} of {agreement.rows} holdout rows, probabilities "
        f"within {agreement.largest_difference:.2g}"
    )
    return exit_code
