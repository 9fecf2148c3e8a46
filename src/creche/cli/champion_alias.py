"""What a command does about an alias `champion` that does not follow the promotion log."""

import sys

from creche.project import ProjectPaths


def warn_if_alias_differs(recipe: str, paths: ProjectPaths) -> None:
    """Print to stderr that the alias differs from the promotion log, and the remedy."""
    from creche.registry import promotion_log

    issue = promotion_log.inspect(recipe, paths)
    if issue is not None:
        print(f"creche: {issue.advice}", file=sys.stderr)


def reconcile_alias(recipe: str, paths: ProjectPaths) -> None:
    """Complete an interrupted promotion, and print to stderr that it was."""
    from creche.registry import promotion_log

    message = promotion_log.reconcile(recipe, paths)
    if message:
        print(f"creche: {message}", file=sys.stderr)
