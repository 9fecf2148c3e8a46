"""The check of `creche doctor` on inboxes, and their part of `creche status`, without a server."""

import shlex
from collections.abc import Iterator

from creche.operations.inbox_folder import (
    RefusedItem,
    age_days,
    inboxes,
    items,
    problem,
    refused_items,
)
from creche.operations.issues import Issue
from creche.project import ProjectPaths, recipe_names
from creche.records import InboxStatus

REFUSED_DAYS = 7  # for which a refused item is an issue
MAX_ISSUES = 10  # of one inbox and one kind


def inbox_issues(paths: ProjectPaths) -> Iterator[Issue]:
    """Find items that cannot be scored, those refused lately, and inboxes of no recipe."""
    recipes = recipe_names(paths.root)
    for recipe, folder in inboxes(paths):
        try:
            waiting = items(folder)
            refused = refused_items(folder)
        except OSError as error:
            yield Issue("inbox", f"{folder} cannot be read: {error.strerror}", f"ls -ld {folder}")
            continue
        if recipe not in recipes and waiting:
            message = f"{len(waiting)} items wait in {folder}, and there is no recipe {recipe}"
            yield Issue("inbox", message, "ls recipes")
        for path in waiting[:MAX_ISSUES]:
            reason = problem(path)
            if reason is not None:
                yield Issue("inbox", f"{_readable(str(path))}: {reason}", f"ls -lb {folder}")
        yield from _refused_issues(refused)


def _refused_issues(refused: list[RefusedItem]) -> Iterator[Issue]:
    recent = [item for item in refused if age_days(item) < REFUSED_DAYS]
    for item in recent[:MAX_ISSUES]:
        inbox = item.path.parent.parent
        remedy = f"mv {_readable(shlex.quote(str(item.path)))} {shlex.quote(str(inbox))}"
        yield Issue("inbox", f"{_readable(str(item.path))} was refused: {item.reason}", remedy)
    more = len(recent) - MAX_ISSUES
    if more > 0:
        folder = recent[0].path.parent
        yield Issue("inbox", f"{more} more items were refused: {folder}", f"ls {folder}")


def inbox_status(paths: ProjectPaths) -> list[InboxStatus]:
    """Return what waits and what was refused in each inbox."""
    statuses = []
    for recipe, folder in inboxes(paths):
        try:
            waiting = items(folder)
            refused = refused_items(folder)
        except OSError as error:
            unreadable = f"{folder} cannot be read: {error.strerror}"
            statuses.append(InboxStatus(recipe=recipe, waiting=0, refused=0, problem=unreadable))
            continue
        last_problem = ""
        for path in waiting[:MAX_ISSUES]:
            reason = problem(path)
            if reason is not None:
                last_problem = f"{_readable(path.name)}: {reason}"
        if not last_problem and refused:
            last_problem = f"{_readable(refused[0].path.name)}: {refused[0].reason}"
        statuses.append(
            InboxStatus(
                recipe=recipe, waiting=len(waiting), refused=len(refused), problem=last_problem
            )
        )
    return statuses


def _readable(text: str) -> str:
    """Return a name that is not UTF-8 with its bytes in hexadecimal."""
    return text.encode("utf-8", "backslashreplace").decode()
