"""The command that renames a recipe: rename."""

import argparse
import re
import sys

from creche.cli.arguments import Commands, add_command, print_json
from creche.cli.champion_alias import reconcile_alias
from creche.errors import RecipeError, UsageError
from creche.project import RECIPE_NAME_FORM, ProjectPaths, is_recipe_name, recipe_name


def add_commands(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = add_command(
        commands,
        "rename",
        _rename,
        "Rename a recipe: its file, its versions with the champion, its promotion log and its "
        "experiment.",
        "creche rename penguins palmer-penguins",
    )
    parser.add_argument("recipe", metavar="OLD", help="the name until now")
    parser.add_argument("new", metavar="NEW", help="its file may have that name already")


def _rename(options: argparse.Namespace) -> int:
    from creche.registry import renaming

    paths = ProjectPaths.find()
    old, new = recipe_name(options.recipe), recipe_name(options.new)
    if old == new:
        raise UsageError(f"'{old}' is the name already: state another one")
    if not is_recipe_name(new):
        raise UsageError(f"'{new}': a name is made of {RECIPE_NAME_FORM}")
    old_file = paths.root / "recipes" / f"{old}.yaml"
    new_file = old_file.with_name(f"{new}.yaml")
    if old_file.is_file() and new_file.is_file():
        raise UsageError(f"{old_file} and {new_file} are both there: keep one of them")
    if not old_file.is_file() and not new_file.is_file():
        raise RecipeError(f"neither {old_file} nor {new_file} is there: name a recipe")
    reconcile_alias(old, paths)
    renaming.rename(old, new, paths)
    # The file comes last: until then the same command can be given again.
    if old_file.is_file():
        old_file.rename(new_file)
    if options.json:
        print_json({"old": old, "new": new})
        return 0
    print(f"RENAMED  {old} is {new} now, with its versions and its champion")
    deployments = paths.root / "deploy" / "prefect.yaml"
    if deployments.is_file() and re.search(rf"\b{re.escape(old)}\b", deployments.read_text()):
        print(
            f"creche: {deployments} names {old}: edit it, and run `creche down && creche up "
            "--detach`",
            file=sys.stderr,
        )
    inbox = paths.home / "inbox" / old
    if inbox.is_dir():
        print(f"creche: {inbox} is not looked at any more: move what it holds", file=sys.stderr)
    return 0
