"""The result of a check: an issue, and its remedy."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from creche.operations.service_log import Log

FIX = "creche doctor --fix"
INSTALL = "rm -f .venv/ready && make .venv/ready"


@dataclass(frozen=True)
class Issue:
    """Something that is not as it should be.

    Attributes:
        check: name of the check that returned it.
        message: what is wrong, and where.
        remedy: the command that remedies it.
        fix: the same as a function, where it needs no decision of a person.
    """

    check: str
    message: str
    remedy: str
    fix: Callable[[], None] | None = None


OnFixed = Callable[[Issue], None]
OnFixError = Callable[[Issue, Exception], None]


def fix_issues(issues: Iterable[Issue], on_fixed: OnFixed, on_error: OnFixError) -> None:
    """Apply the automatic remedies, each of them even where another fails.

    Args:
        on_fixed: is called with each issue that is fixed.
        on_error: is called with an issue and the error of its remedy.
    """
    for issue in issues:
        if issue.fix is None:
            continue
        try:
            issue.fix()
        except Exception as error:
            on_error(issue, error)
        else:
            on_fixed(issue)


def fix_and_log(issues: Iterable[Issue], log: Log) -> None:
    """Apply the automatic remedies, and log the issues that are fixed.

    Raises:
        Exception: that of the last remedy that failed; the others are applied all the same.
    """
    errors: list[Exception] = []
    fix_issues(
        issues,
        on_fixed=lambda issue: log("reconcile", issue.message),
        on_error=lambda issue, error: errors.append(error),
    )
    if errors:
        raise errors[-1]


def readable_size(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
