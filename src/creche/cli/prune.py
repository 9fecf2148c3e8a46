"""The command prune: delete versions and files that nothing refers to."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.cli.champion_alias import warn_if_alias_differs
from creche.errors import UsageError
from creche.project import KEEP_VERSIONS, STALE_DAYS, ProjectPaths, recipe_name, recipe_names

if TYPE_CHECKING:
    from creche.registry import ModelVersion


def add_commands(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = add_command(
        commands,
        "prune",
        _prune,
        "Delete versions that were never champion, that no scoring on this machine used, and that "
        "are not the latest; without RECIPE those of every recipe, and the stale files of runs.",
        "creche prune penguins --keep 20 --yes",
    )
    parser.add_argument("recipe", metavar="RECIPE", nargs="?")
    parser.add_argument(
        "--keep",
        metavar="N",
        type=int,
        default=KEEP_VERSIONS,
        help="of the latest versions of a recipe (default: %(default)s)",
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=int,
        default=STALE_DAYS,
        help="without RECIPE: age from which files of a run are stale (default: %(default)s)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="delete; without it they are only listed"
    )


def _prune(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.pipeline.retention import delete_stale_files, stale_files

    _check_numbers(options)
    paths = ProjectPaths.find()
    is_whole_project = not options.recipe
    names = recipe_names(paths.root) if is_whole_project else [recipe_name(options.recipe)]
    versions = _prunable_versions(names, options.keep, paths)
    if options.yes:
        for version in versions:
            registry.delete_version(version, paths)
    files: list[Path] = []
    if is_whole_project and options.yes:
        # What a deleted version referred to may be stale.
        files = [path for path, _ in delete_stale_files(options.days, paths)]
    elif is_whole_project:
        files = list(stale_files(options.days, paths))
    if options.json:
        print_json(_fields(options, versions, files))
    else:
        _print_lines(options, versions, files)
    return 0


def _check_numbers(options: argparse.Namespace) -> None:
    if options.keep < 0:
        raise UsageError("--keep: state a number, 0 or more")
    if options.days < 1:
        raise UsageError("--days: state a number, 1 or more")


def _prunable_versions(
    recipes: Sequence[str], keep: int, paths: ProjectPaths
) -> list["ModelVersion"]:
    from creche import registry
    from creche.pipeline.retention import prunable_versions

    versions: list[ModelVersion] = []
    if not registry.store_exists(paths):
        return versions
    for recipe in recipes:
        warn_if_alias_differs(recipe, paths)
        versions += prunable_versions(recipe, keep, paths)
    return versions


def _fields(
    options: argparse.Namespace, versions: Sequence["ModelVersion"], files: Sequence[Path]
) -> dict[str, object]:
    """Return the outcome for `--json`."""
    deleted = bool(options.yes)
    if options.recipe:
        numbers = [version.version for version in versions]
        return {"recipe": recipe_name(options.recipe), "versions": numbers, "deleted": deleted}
    references = [f"{version.recipe}@{version.version}" for version in versions]
    return {"versions": references, "files": [str(path) for path in files], "deleted": deleted}


def _print_lines(
    options: argparse.Namespace, versions: Sequence["ModelVersion"], files: Sequence[Path]
) -> None:
    outcome = "deleted" if options.yes else "would be deleted; --yes deletes them"
    for version in versions:
        verdict = version.tags.get("verdict", "")
        prefix = "" if options.recipe else f"{version.recipe}  "
        print(f"  {prefix}{version.version:>4}  {verdict}  digest {version.digest[:12]}")
    for path in files:
        print(f"  {path}")
    if options.recipe:
        print(f"{len(versions)} versions of {recipe_name(options.recipe)} {outcome}")
    else:
        print(f"{len(versions)} versions and {len(files)} folders and files {outcome}")
