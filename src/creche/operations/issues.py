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


def fix_all(issues: Iterable[Issue], log: Log) -> None:
    """Fix the issues that can be fixed, and log them.

    Raises:
        Exception: that of the last fix that failed; the others are done all the same.
    """
    failure: Exception | None = None
    for issue in issues:
        if issue.fix is None:
            continue
        try:
            issue.fix()
            log("doctor", issue.message)
        # One that cannot be fixed must not keep the others.
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure


def readable_size(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
