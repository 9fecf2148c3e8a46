"""Commands about champions: history, promote, rollback."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.cli.champion_alias import reconcile_alias, warn_if_alias_differs
from creche.errors import UsageError
from creche.project import ProjectPaths, recipe_name

if TYPE_CHECKING:
    from creche.registry.promotion_log import PromotionEntry

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_history(commands)
    _add_promote(commands)
    _add_rollback(commands)


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="WHY", required=True, help="stays on record")


def _add_history(commands: Commands) -> None:
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


def _add_promote(commands: Commands) -> None:
    parser = add_command(
        commands,
        "promote",
        _promote,
        "Make a version champion manually; against the gate's verdict it is an override, which is "
        "logged.",
        "creche promote penguins@2 --reason 'the new scale is right, the holdout is not'",
    )
    parser.add_argument("model", metavar="MODEL", help="penguins@7")
    _add_reason(parser)


def _add_rollback(commands: Commands) -> None:
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
    _add_reason(parser)


def _history(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    paths = ProjectPaths.find()
    recipe = recipe_name(options.recipe)
    warn_if_alias_differs(recipe, paths)
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
    from creche.registry import promotion_log

    in_effect = promotion_log.effective(log)
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


def _promote(options: argparse.Namespace) -> int:
    from creche.registry import manual_promotion

    name, _, version = options.model.partition("@")
    if not version.isdigit():
        raise UsageError(f"promote a version by its number, as penguins@4, not '{options.model}'")
    paths = ProjectPaths.find()
    recipe = recipe_name(name)
    reconcile_alias(recipe, paths)
    entry = manual_promotion.promote(recipe, version, options.reason, paths)
    return _print_promotion(options, recipe, entry)


def _rollback(options: argparse.Namespace) -> int:
    from creche.registry import manual_promotion

    paths = ProjectPaths.find()
    recipe = recipe_name(options.recipe)
    reconcile_alias(recipe, paths)
    entry = manual_promotion.rollback(recipe, options.to, options.reason, paths)
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
