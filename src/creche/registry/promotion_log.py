"""The promotion log: which version was champion when, and why.

It is an append-only log in MLflow, which the alias `champion` follows. An entry is a version of the
MLflow model `<recipe> promotion log`: MLflow numbers versions in one transaction each, so the log
has one order without a lock. An entry names the one that it builds on. The first to build on an
entry takes effect; any other that names the same one is superseded.

A promotion appends an entry, moves the alias, and marks the entry as applied. After a kill at any
point, the next run or promotion, or `creche doctor --fix`, moves the alias to the version that the
log names. Until then readers get the previous champion, and `inspect` says that the two differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from creche.errors import RegistryError
from creche.project import ProjectPaths
from creche.registry import versions

REASON_LENGTH = 1000  # characters
PRE_EXISTING = "pre-existing"  # kind of an entry: it was champion before the log began
ANY_CHAMPION = ""  # `expected` where any version, or none, may be champion before


@dataclass(frozen=True)
class PromotionEntry:
    """One change of the champion, or a superseded attempt at one."""

    number: int  # from 1
    previous: int  # number of the entry that it builds on; 0: the log was empty
    version: str
    kind: str  # promotion, rollback, override, rename, pre-existing
    reason: str
    by: str  # a run, or a person
    verdict_id: str
    overrules: str  # the verdict that it goes against; empty: none
    time: datetime  # by the store's clock; never before the entry that it builds on
    applied: bool  # the alias was seen in place
    superseded: bool = True  # another entry that builds on the same one was first


def log_name(recipe: str) -> str:
    """Return the name of the MLflow model whose versions are the entries."""
    return f"{recipe} promotion log"


def entries(recipe: str, paths: ProjectPaths) -> list[PromotionEntry]:
    """Return all entries in their order, superseded ones too.

    Raises:
        RegistryError: an entry was deleted.
    """
    name = log_name(recipe)
    log = []
    head_number = 0
    latest = datetime.min.replace(tzinfo=UTC)
    for number, stored in enumerate(versions.list_versions(paths, name), 1):
        if stored.version != number:
            raise RegistryError(
                f"{name} has lost entry {number}: restore the store from its backup before "
                "anything else"
            )
        tags = stored.tags
        entry = PromotionEntry(
            number=number,
            previous=int(tags["previous"]),
            version=tags["version"],
            kind=tags["kind"],
            reason=tags["reason"],
            by=tags["by"],
            verdict_id=tags["verdict_id"],
            overrules=tags["overrules"],
            time=stored.created,
            applied="applied" in tags,
        )
        if entry.previous == head_number:
            # A clock may go backwards, the log does not.
            latest = max(latest, entry.time)
            entry = replace(entry, superseded=False, time=latest)
            head_number = number
        log.append(entry)
    return log


def effective(log: Iterable[PromotionEntry]) -> list[PromotionEntry]:
    """Return the entries that took effect."""
    return [entry for entry in log if not entry.superseded]


def head(log: Iterable[PromotionEntry]) -> PromotionEntry | None:
    """Return the entry that names the current champion; None: the log is empty."""
    in_effect = effective(log)
    return in_effect[-1] if in_effect else None


def champion_at(log: Iterable[PromotionEntry], time: datetime) -> PromotionEntry | None:
    """Return the entry that named the champion at a time."""
    return head(entry for entry in log if entry.time <= time)


@dataclass(frozen=True)
class LogIssue:
    """The alias does not follow the log."""

    message: str
    remedy: str  # a command
    repairable: bool  # whether `reconcile` can move the alias to the log's champion

    @property
    def advice(self) -> str:
        """The message and the remedy as one sentence."""
        return f"{self.message}: run `{self.remedy}`"


def inspect(recipe: str, paths: ProjectPaths) -> LogIssue | None:
    """Return how the alias differs from the log, None where it does not; nothing is changed.

    Raises:
        RegistryError: the log has lost an entry.
    """
    last = head(entries(recipe, paths))
    return None if last is None else _issue(recipe, last, paths)


def reconcile(recipe: str, paths: ProjectPaths) -> str | None:
    """Move the alias to the champion that the log names.

    Returns:
        What was repaired, or cannot be, as a sentence; None: nothing was wrong.

    Raises:
        RegistryError: the log has lost an entry.
    """
    last = head(entries(recipe, paths))
    if last is None:
        return None
    issue = _issue(recipe, last, paths)
    if issue is None:
        if not last.applied:
            # The promotion was killed after it moved the alias, before it marked the entry.
            _apply(recipe, last, paths)
        return None
    if not issue.repairable:
        return issue.advice
    _apply(recipe, last, paths)
    return f"{issue.message}: repaired"


def _issue(recipe: str, last: PromotionEntry, paths: ProjectPaths) -> LogIssue | None:
    current = versions.champion_version(recipe, paths)
    if current == last.version and last.applied:
        return None
    if versions.version_tags(recipe, last.version, paths) is None:
        return LogIssue(
            f"{recipe}: its champion, version {last.version}, was deleted",
            f"creche rollback {recipe} --reason …",
            repairable=False,
        )
    if current == last.version:
        return None
    return LogIssue(
        f"{recipe}: a promotion was interrupted; by the promotion log version {last.version} is "
        f"champion, not {current}",
        "creche doctor --fix",
        repairable=True,
    )


def set_champion(
    recipe: str,
    version: str,
    paths: ProjectPaths,
    kind: str,
    reason: str,
    by: str,
    verdict_id: str = "",
    overrules: str = "",
    expected: str | None = ANY_CHAMPION,
) -> PromotionEntry:
    """Make a version champion.

    After a kill at any point, `reconcile` can bring log and alias to agree.

    Args:
        kind: promotion, rollback, override or rename.
        by: the run or the person that does it.
        verdict_id: of the verdict on the version.
        overrules: the verdict that an override goes against.
        expected: the version that must be champion before; None: no version may be.

    Returns:
        The entry; a retry gets that of the first attempt.

    Raises:
        RegistryError: another version is champion than was expected, or another promotion was
            first.
    """
    reconcile(recipe, paths)
    last = head(entries(recipe, paths))
    if kind == "promotion" and last is not None:
        is_retry = (last.kind, last.by, last.version) == (kind, by, version)
        if is_retry:
            return last
    current = versions.champion_version(recipe, paths)
    if expected not in (ANY_CHAMPION, current):
        raise RegistryError(
            f"the champion of {recipe} changed while version {version} was judged: "
            f"it is now {current}, not {expected}; run it again"
        )
    if last is None and current is not None:
        last = _record_pre_existing(recipe, current, by, paths)
    previous = last.number if last else 0
    tags = _entry_tags(kind, reason, by, verdict_id, overrules)
    entry = _append(recipe, version, previous, tags, paths)
    if entry.superseded:
        raise RegistryError(_lost_race(recipe, entry, paths))
    _apply(recipe, entry, paths)
    return entry


def _record_pre_existing(
    recipe: str, version: str, by: str, paths: ProjectPaths
) -> PromotionEntry | None:
    """Begin the log with the version that is champion already; return the log's head."""
    tags = _entry_tags(PRE_EXISTING, "was champion before the log began", by)
    _append(recipe, version, 0, tags, paths)
    # Another process may have appended it at the same time.
    return head(entries(recipe, paths))


def _entry_tags(
    kind: str, reason: str, by: str, verdict_id: str = "", overrules: str = ""
) -> dict[str, str]:
    return {
        "kind": kind,
        "reason": reason,
        "by": by,
        "verdict_id": verdict_id,
        "overrules": overrules,
    }


def _append(
    recipe: str, version: str, previous: int, tags: dict[str, str], paths: ProjectPaths
) -> PromotionEntry:
    entry_tags = {**tags, "version": version, "previous": str(previous)}
    source = f"models:/{recipe}/{version}"
    number = versions.create_version(log_name(recipe), source, entry_tags, paths)
    return entries(recipe, paths)[number - 1]


def _lost_race(recipe: str, entry: PromotionEntry, paths: ProjectPaths) -> str:
    for other in entries(recipe, paths):
        if not other.superseded and other.previous == entry.previous:
            return (
                f"{other.by} made version {other.version} champion of {recipe} first "
                f"({other.reason}); version {entry.version} is on record, and is not champion: run "
                "it again"
            )
    raise AssertionError(f"entry {entry.number} of {recipe} is superseded by none")


def _apply(recipe: str, entry: PromotionEntry, paths: ProjectPaths) -> None:
    """Move the alias to the log's head, and mark the entry as applied."""
    # Another process may append an entry meanwhile, so the head is read until it is in place.
    while True:
        target = head(entries(recipe, paths))
        if target is None or versions.champion_version(recipe, paths) == target.version:
            break
        versions.set_champion_alias(recipe, target.version, paths)
    versions.tag_version(log_name(recipe), entry.number, "applied", "1", paths)
