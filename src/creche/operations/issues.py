"""The result of a check: an issue, and its remedy."""

from collections.abc import Callable
from dataclasses import dataclass

FIX = "creche doctor --fix"
INSTALL = "rm -f .venv/ready && make .venv/ready"


@dataclass(frozen=True)
class Issue:
    """Something that is not as it should be.

    Attributes:
        check: name of the check that returned it.
        message: what is wrong, and where.
        remedy: the command that remedies it.
        fix: the same as a function, where it can do no harm.
    """

    check: str
    message: str
    remedy: str
    fix: Callable[[], None] | None = None


def readable_size(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
