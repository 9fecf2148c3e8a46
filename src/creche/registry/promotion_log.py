"""The promotion log: which version was champion when, and why.

It is an append-only log in MLflow, which the alias `champion` follows. An entry is a version of the
MLflow model `<recipe> promotion log`: MLflow numbers versions in one transaction each, so the log
has one order without a lock. An entry names the one that it builds on. The first to build on an
entry takes effect; any other that names the same one is superseded.

A promotion appends an entry, moves the alias, and marks the entry as applied. After a kill at any
point, the next run or promotion, or `creche doctor --fix`, moves the alias to the version that the
log names. Until then readers get the previous champion, and `inspect` says that the two differ.
"""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from creche.errors import RegistryError, UsageError
from creche.model.artifact import Model
from creche.project import ProjectPaths
from creche.registry import versions
from creche.registry.versions import ModelVersion

REASON_LENGTH = 1000  # characters
PRE_EXISTING = "pre-existing"  # kind of an entry: it was champion before the log began


@dataclass(frozen=True)
class PromotionEntry:
    """One change of the champion, or a superseded attempt at one."""

    number: int  # from 1
    previous: int  # number of the entry that it builds on; 0: the log was empty
    version: str
    kind: str  # promotion, rollback, override, pre-existing
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


def head(log: Iterable[PromotionEntry]) -> PromotionEntry | None:
    """Return the entry that names the current champion."""
    effective = [entry for entry in log if not entry.superseded]
    return effective[-1] if effective else None


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
    expected: str | None = "",
) -> PromotionEntry:
    """Make a version champion.

    After a kill at any point, `reconcile` can bring log and alias to agree.

    Args:
        kind: promotion, rollback or override.
        by: the run or the person that does it.
        verdict_id: of the verdict on the version.
        overrules: the verdict that an override goes against.
        expected: the version that must be champion before; None: no version; empty: any.

    Returns:
        The entry; a retry gets that of the first attempt.

    Raises:
        RegistryError: another version is champion than was expected, or another promotion was
            first.
    """
    reconcile(recipe, paths)
    last = head(entries(recipe, paths))
    current = versions.champion_version(recipe, paths)
    if last is not None and kind == "promotion":
        is_retry = (last.kind, last.by, last.version) == (kind, by, version)
        if is_retry:
            return last
    if expected != "" and current != expected:
        raise RegistryError(
            f"the champion of {recipe} changed while version {version} was judged: "
            f"it is now {current}, not {expected}; run it again"
        )
    if last is None and current is not None:
        tags = _entry_tags(PRE_EXISTING, "was champion before the log began", by)
        _append(recipe, current, 0, tags, paths)
        # Another process may have appended it at the same time.
        last = head(entries(recipe, paths))
    previous = last.number if last else 0
    tags = _entry_tags(kind, reason, by, verdict_id, overrules)
    entry = _append(recipe, version, previous, tags, paths)
    if entry.superseded:
        raise RegistryError(_lost_race(recipe, entry, paths))
    _apply(recipe, entry, paths)
    return entry


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


def promote(recipe: str, version: str, reason: str, paths: ProjectPaths) -> PromotionEntry:
    """Make a version champion manually.

    A verdict of PROMOTE counts only against the champion that it was compared with; over any other
    champion this is an override, whose entry names the verdict.

    Raises:
        RegistryError: there is no such version.
        UsageError: it is champion already, or there is no reason.
    """
    tags = _verified(recipe, version, paths).tags
    current = versions.champion_version(recipe, paths)
    if current == version:
        raise UsageError(f"version {version} of {recipe} is already champion")
    verdict = tags.get("verdict", "none")
    verdict_id = tags.get("verdict_id", "")
    compared_with = tags.get("compared_with", "none")
    if verdict == "PROMOTE" and compared_with == (current or "none"):
        kind = "promotion"
        overrules = ""
    else:
        kind = "override"
        overrules = f"{verdict_id} ({verdict} against {compared_with})"
    return set_champion(
        recipe,
        version,
        paths,
        kind=kind,
        reason=_checked_reason(reason),
        by=user_name(),
        verdict_id=verdict_id,
        overrules=overrules,
    )


def rollback(recipe: str, to: str | None, reason: str, paths: ProjectPaths) -> PromotionEntry:
    """Make an earlier champion champion again.

    Args:
        to: its version; None: the one before the current champion.

    Raises:
        RegistryError: there is no earlier one, `to` was never champion, or its file cannot be
            fetched.
        UsageError: `to` is champion already, or there is no reason.
    """
    effective = [entry for entry in entries(recipe, paths) if not entry.superseded]
    target = to
    if target is None:
        target = _previous_champion(recipe, effective, paths)
    if target not in {entry.version for entry in effective}:
        target_tags = versions.version_tags(recipe, target, paths) or {}
        verdict = target_tags.get("verdict", "no verdict: there is no such version")
        raise RegistryError(
            f"version {target} of {recipe} was never champion ({verdict}), so it cannot be rolled "
            f"back to; to overrule its verdict, run `creche promote {recipe}@{target} --reason …`"
        )
    if versions.champion_version(recipe, paths) == target:
        raise UsageError(f"version {target} of {recipe} is already champion")
    tags = _verified(recipe, target, paths).tags
    if tags.get("verdict") == "REJECT":
        raise RegistryError(
            f"version {target} of {recipe} was champion by an override, against its verdict "
            f"(REJECT), so it cannot be rolled back to; to promote it all the same, run "
            f"`creche promote {recipe}@{target} --reason …`"
        )
    return set_champion(
        recipe,
        target,
        paths,
        kind="rollback",
        reason=_checked_reason(reason),
        by=user_name(),
        verdict_id=tags.get("verdict_id", ""),
    )


def _previous_champion(recipe: str, effective: list[PromotionEntry], paths: ProjectPaths) -> str:
    """Return the version that was champion before the current one first was.

    Each rollback thus leads to an earlier version, and never to one that was rolled back.
    """
    current = effective[-1].version if effective else ""
    for entry in reversed(_before_first(current, effective)):
        tags = versions.version_tags(recipe, entry.version, paths)
        if tags and tags.get("verdict") != "REJECT":
            return entry.version
    raise RegistryError(
        f"{recipe} has no earlier champion that the gate accepted, so there is none to roll back "
        f"to; run `creche history {recipe}` to see all champions"
    )


def _before_first(version: str, effective: list[PromotionEntry]) -> list[PromotionEntry]:
    for index, entry in enumerate(effective):
        if entry.version == version:
            return effective[:index]
    return []


def _verified(recipe: str, version: str, paths: ProjectPaths) -> ModelVersion:
    """Return the version, its file fetched, its digest checked and its golden rows replayed."""
    resolved = versions.registered_version(recipe, version, paths)
    if resolved is None:
        raise RegistryError(
            f"{recipe} has no version {version}: run `creche models {recipe}` to list those it has"
        )
    mismatches = Model(resolved.path, resolved.digest).verify()
    if mismatches:
        raise RegistryError(
            f"version {version} of {recipe} does not reproduce its golden rows: {mismatches[0]}; "
            "choose another version"
        )
    return resolved


def _checked_reason(text: str) -> str:
    reason = " ".join(text.split())
    if not reason or len(reason) > REASON_LENGTH:
        raise UsageError(
            f"--reason: state it in 1 to {REASON_LENGTH} characters; it stays on record"
        )
    return reason


def user_name() -> str:
    """Return the name of the user of this process, as far as the system knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
