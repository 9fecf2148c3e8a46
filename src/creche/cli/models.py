"""Commands about registered models: models, history, evaluate, promote, rollback, prune,
reproduce.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from creche.cli.arguments import (
    DEVICES,
    MODEL_HELP,
    NOT_PROMOTED,
    Commands,
    add_command,
    print_json,
)
from creche.errors import UsageError
from creche.project import ProjectPaths, recipe_name

if TYPE_CHECKING:
    from creche.registry import StoredVersion
    from creche.registry.promotion_log import PromotionEntry

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands,
        "models",
        _models,
        "List the versions of a recipe's model, with their verdicts.",
        "creche models penguins",
    )
    parser.add_argument("recipe", metavar="RECIPE")

    parser = add_command(
        commands,
        "history",
        _history,
        "List the champions over time, and why each was promoted.",
        "creche history penguins --at 2026-11-01T12:00",
    )
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="the champion at that time; ISO 8601, UTC unless it says otherwise",
    )

    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Evaluate any model as the gate does, beside another one; nothing is recorded.",
        "creche evaluate penguins@4 --against penguins@champion",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--against", metavar="MODEL", help="the model that it is compared with")

    parser = add_command(
        commands,
        "promote",
        _promote,
        "Make a version champion by hand; against the gate's verdict it is an override, on record.",
        "creche promote penguins@4 --reason 'the new scale is right, the holdout is not'",
    )
    parser.add_argument("model", metavar="MODEL", help="penguins@7")
    parser.add_argument("--reason", metavar="WHY", required=True, help="stays on record")

    parser = add_command(
        commands,
        "rollback",
        _rollback,
        "Make an earlier champion champion again.",
        "creche rollback penguins --reason 'confuses Chinstrap and Adelie on Dream'",
    )
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument(
        "--to",
        metavar="VERSION",
        help="a version that has been champion (default: the one before)",
    )
    parser.add_argument("--reason", metavar="WHY", required=True, help="stays on record")

    parser = add_command(
        commands,
        "prune",
        _prune,
        "Delete versions that were never champion, that no scoring on this machine used, and that "
        "are not the latest.",
        "creche prune penguins --keep 20 --yes",
    )
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument(
        "--keep", metavar="N", type=int, default=10, help="of the latest versions (default: 10)"
    )
    parser.add_argument(
        "--yes", action="store_true", help="delete; without it they are only listed"
    )

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

    paths, recipe = _project_and_recipe(options.recipe)
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


def _history(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    paths, recipe = _project_and_recipe(options.recipe)
    log = promotion_log.entries(recipe, paths)
    if options.at:
        entry = promotion_log.champion_at(log, _parse_time(options.at))
        log = [entry] if entry else []
    if options.json:
        print_json([{**asdict(entry), "time": entry.time.isoformat()} for entry in log])
        return 0
    for line in _history_lines(log, recipe, last_end="" if options.at else "now"):
        print(line)
    return 0


def _history_lines(log: "list[PromotionEntry]", recipe: str, last_end: str) -> Iterator[str]:
    """Yield a line for each entry, and their number.

    Args:
        last_end: the end of the last champion's time.
    """
    in_effect = [entry for entry in log if not entry.superseded]
    ends = {}
    for entry, successor in pairwise(in_effect):
        ends[entry.number] = format(successor.time, TIME_FORMAT)
    for entry in log:
        end = ends.get(entry.number, last_end)
        if entry.superseded:
            end = "superseded, another was first"
        overruled = f", overrules {entry.overrules}" if entry.overrules else ""
        yield (
            f"  {entry.time:{TIME_FORMAT}} to {end:19}  version {entry.version:>4}  "
            f"{entry.kind} by {entry.by}{overruled}: {entry.reason}"
        )
    if in_effect:
        yield f"{len(in_effect)} promotions of {recipe} (UTC)"
    else:
        yield f"{recipe} has no champion yet"


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: not a time: state it as in 2026-11-01T12:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


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


def _promote(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    name, _, version = options.model.partition("@")
    if not version.isdigit():
        raise UsageError(f"promote a version by its number, as penguins@4, not '{options.model}'")
    paths, recipe = _reconciled(name)
    entry = promotion_log.promote(recipe, version, options.reason, paths)
    return _print_promotion(options, recipe, entry)


def _rollback(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    paths, recipe = _reconciled(options.recipe)
    entry = promotion_log.rollback(recipe, options.to, options.reason, paths)
    return _print_promotion(options, recipe, entry)


def _print_promotion(options: argparse.Namespace, recipe: str, entry: "PromotionEntry") -> int:
    if options.json:
        print_json(
            {
                "recipe": recipe,
                "version": entry.version,
                "kind": entry.kind,
                "by": entry.by,
                "overrules": entry.overrules,
            }
        )
        return 0
    overruled = f", against verdict {entry.overrules}" if entry.overrules else ""
    print(f"{recipe}@{entry.version} is champion: {entry.kind} by {entry.by}{overruled}")
    return 0


def _prune(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.pipeline.retention import prunable_versions

    if options.keep < 0:
        raise UsageError("--keep: state a number, 0 or more")
    paths, recipe = _project_and_recipe(options.recipe)
    versions = prunable_versions(recipe, options.keep, paths)
    if not options.json:
        for version in versions:
            verdict = version.tags.get("verdict", "")
            print(f"  {version.version:>4}  {verdict}  digest {version.digest[:12]}")
    if options.yes:
        for version in versions:
            registry.delete_version(version, paths)
    if options.json:
        numbers = [version.version for version in versions]
        print_json({"recipe": recipe, "versions": numbers, "deleted": bool(options.yes)})
    else:
        outcome = "deleted" if options.yes else "would be deleted; --yes deletes them"
        print(f"{len(versions)} versions of {recipe} {outcome}")
    return 0


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


def _project_and_recipe(recipe: str) -> tuple[ProjectPaths, str]:
    """Return the project and a recipe's name, for a command that changes no champion.

    If the alias differs from the promotion log, that and the remedy are printed to stderr.
    """
    from creche.registry import promotion_log

    paths = ProjectPaths.find()
    name = recipe_name(recipe)
    issue = promotion_log.inspect(name, paths)
    if issue is not None:
        print(f"creche: {issue.advice}", file=sys.stderr)
    return paths, name


def _reconciled(recipe: str) -> tuple[ProjectPaths, str]:
    """Return the project and a recipe's name, after an interrupted promotion is completed.

    A message about that is printed to stderr.
    """
    from creche.registry import promotion_log

    paths = ProjectPaths.find()
    name = recipe_name(recipe)
    message = promotion_log.reconcile(name, paths)
    if message:
        print(f"creche: {message}", file=sys.stderr)
    return paths, name
